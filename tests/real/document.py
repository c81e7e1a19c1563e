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
runs the suite on pydantic-ai's AG-UI server too, which takes 6 s of CPU time. The others take 10 to 45 s, so they are
tested here only. What is found *at times* depends on when things happen.

*Apply* counts the requirements of the catalogue that mean something for the API and the parts of it that the server has
(`tests/real/requirements_by_api.csv`: {marks}). *Decided* are those of them that got a verdict on the server: passed,
not met, or an observation. The others are not applicable, or inconclusive; the last table says why. *Lacks* counts
those of parts that the server does not have, *not set up* those that need several servers or a restart. Times are of
three users for ten seconds next to the suite, on a machine with other work: they show that they are measured, not how
fast a server is.

"""


def write(outcomes: Sequence[Outcome]) -> None:
    """Write the page. Raises FileWriteError."""
    told = "; ".join(f"{mark}, {meaning}" for mark, meaning in MARKS.items())
    parts = [_HEAD.format(marks=told), _overview(outcomes), "\n## Findings\n", *map(_findings, outcomes)]
    parts += ["\n## Not decided\n\n", _undecided(outcomes)]
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


def _undecided(outcomes: Sequence[Outcome]) -> str:
    lines = ["| Profile | Requirements | Verdict | Reason |", "| --- | --- | --- | --- |"]
    for outcome in outcomes:
        grouped: dict[tuple[str, str], list[str]] = {}
        for name in outcome.applicable:
            if name not in outcome.decided:
                check = outcome.checks[name]
                grouped.setdefault((str(check["verdict"]), str(check["detail"])), []).append(f"`{name}`")
        lines += [
            f"| {outcome.target} | {', '.join(names)} | {verdict} | {_cell(detail)} |"
            for (verdict, detail), names in grouped.items()
        ]
    return "\n".join(lines) + "\n"


def _cell(text: str, limit: int = 300) -> str:
    shown = text if len(text) <= limit else f"{text[:limit]}…"
    return " ".join(shown.replace("|", "\\|").replace("<", "&lt;").split())
