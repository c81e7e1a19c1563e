"""docs/real-servers.md: what the harness found on servers that others wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.atomic_file import write_text

from .checking import MARKS, Outcome, lacking, marks
from .servers import HERE

PATH = HERE.parents[1] / "docs" / "real-servers.md"
_HEAD = """\
# The harness on servers that others wrote

`make real` installs each of these servers, starts it on loopback with a scripted model (no network, no costs), runs
`harness check` with the profile of its API, and compares the result with the known findings below. It writes this page.
The settings of each target are in `tests/real/targets/`, the servers' programs in `tests/real/servers/`. `make test`
runs the suite on pydantic-ai's AG-UI server too, which takes 6 s of CPU time, and two situations on agno's, 2 s: a run
that is cancelled, and a reused key. The whole suite takes 10 to 45 s on the others, so they are tested here only. What
is found *at times* depends on when things happen.

*Apply* counts the requirements of the catalogue that mean something for the API and the parts of it that the server has
(`tests/real/requirements_by_api.csv`: {marks}). *Decided* are those of them that got a verdict on the server: passed,
not met, or an observation. The others are not applicable, or inconclusive; the table *Not decided* says why. *Lacks*
counts those of parts that the server does not have (the last table), *not set up* those that need several servers or a
restart. Times are of three users for ten seconds next to the suite, on a machine with other work: they show that they
are measured, not how fast a server is.

"""

_WHY_LACKING = {
    "openai-responses": (
        "OpenAI resumes, reads again and cancels only a response with `background = true`. litellm streams no such "
        "response (with such a model its background mode can only be polled). The target `openai-background` decides "
        "what needs one: the same profile with the parts in its comment, on a server that has them."
    )
}
"""Why a target lacks so much that it matters for the share that is decided."""


def write(outcomes: Sequence[Outcome]) -> None:
    """Write the page. Raises FileWriteError."""
    told = "; ".join(f"{mark}, {meaning}" for mark, meaning in MARKS.items())
    parts = [_HEAD.format(marks=told), _overview(outcomes), "\n## Findings\n", *map(_findings, outcomes)]
    parts += ["\n## Not decided\n\n", _undecided(outcomes), "\n## Lacks\n\n", _lacks(outcomes)]
    write_text(PATH, "".join(parts))


def _overview(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| Profile | Server | Apply | Decided | Passed | Not met | Observed | Lacks | Not set up | TTFT p50 / p95 "
        "| Time between tokens p50 |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for outcome in outcomes:
        counts = Counter(str(check["verdict"]) for check in outcome.checks.values())
        apply, decided = len(outcome.applicable), len(outcome.decided)
        ttft, gap = outcome.metrics.get("ttft_ms", {}), outcome.metrics.get("inter_token_ms", {})
        lines.append(
            f"| {outcome.target} | {outcome.server.package} {outcome.version} | {apply} "
            f"| {decided} ({100 * decided // max(apply, 1)}%) | {counts['pass']} "
            f"| {counts['fail'] + counts['warn']} | {counts['info']} "
            f"| {len(lacking(outcome.target))} "
            f"| {list(marks(outcome.target).values()).count('s')} "
            f"| {_ms(ttft.get('p50'))} / {_ms(ttft.get('p95'))} | {_ms(gap.get('p50'))} |"
        )
    return "\n".join(lines) + "\n"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _findings(outcome: Outcome) -> str:
    lines = [f"\n### {outcome.target}: {outcome.server.package} {outcome.version}\n"]
    if not outcome.found:
        lines.append("Nothing that is not met.")
    else:
        lines += ["| Requirement | What the harness saw | Why |", "| --- | --- | --- |"]
    for name, detail in outcome.found.items():
        known = outcome.known.get(name)
        lines.append(
            f"| [`{name}`](requirements.md) | {_cell(detail)} | {_cell(known.reason) if known else '**new**'} |"
        )
    return "\n".join(lines) + "\n"


def _lacks(outcomes: Sequence[Outcome]) -> str:
    """The requirements of parts that the servers lack, and the share that is decided if they count as well."""
    lines = []
    for outcome in outcomes:
        apply, decided = len(outcome.applicable) + len(lacking(outcome.target)), len(outcome.decided)
        if (reason := _WHY_LACKING.get(outcome.target)) is not None:
            share = f"{decided} of {apply} ({100 * decided // max(apply, 1)}%)"
            lines.append(
                f"{outcome.target}: {reason} Counted among what applies, {share} would be decided.\n"
            )
    lines += ["| Profile | Requirements | Verdict | Reason |", "| --- | --- | --- | --- |"]
    for outcome in outcomes:
        lines += _reasons(outcome, lacking(outcome.target))
    return "\n".join(lines) + "\n"


def _undecided(outcomes: Sequence[Outcome]) -> str:
    lines = ["| Profile | Requirements | Verdict | Reason |", "| --- | --- | --- | --- |"]
    for outcome in outcomes:
        lines += _reasons(outcome, [name for name in outcome.applicable if name not in outcome.decided])
    return "\n".join(lines) + "\n"


def _reasons(outcome: Outcome, names: Sequence[str]) -> list[str]:
    """Rows with the reasons why these requirements have no verdict; those with the same reason in one."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for name in names:
        if (check := outcome.checks.get(name)) is not None:
            grouped.setdefault((str(check["verdict"]), str(check["detail"])), []).append(f"`{name}`")
    return [
        f"| {outcome.target} | {', '.join(same)} | {verdict} | {_cell(detail)} |"
        for (verdict, detail), same in grouped.items()
    ]


def _cell(text: str, limit: int = 300) -> str:
    shown = text if len(text) <= limit else f"{text[:limit]}…"
    return " ".join(shown.replace("|", "\\|").replace("<", "&lt;").split())
