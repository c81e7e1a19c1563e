"""``python -m tests.real [TARGET…]``: test servers that others wrote; without targets all of them.

The page is written from the last check of every target that was checked.
"""

from __future__ import annotations

import sys
from contextlib import suppress

from . import document
from .checking import DECIDED, TARGETS, Outcome, check, last_outcome
from .servers import RealServerError


def main(names: list[str]) -> int:
    """Check the targets one after the other. The number of those with a difference from the known findings."""
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        print(f"there is no target {unknown[0]!r}: use one of {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    outcomes: list[Outcome] = []
    failed = 0
    for name in names or list(TARGETS):
        try:
            outcome = check(name)
        except RealServerError as problem:
            failed += 1
            print(f"{name}: {problem}", flush=True)
            continue
        outcomes.append(outcome)
        failed += bool(outcome.unexpected)
        _print(outcome)
    _write_page()
    return 1 if failed else 0


def _write_page() -> None:
    known: list[Outcome] = []
    for name in TARGETS:
        with suppress(RealServerError):
            known.append(last_outcome(name))
    document.write(known)
    print(f"wrote {document.PATH}: {len(known)} of {len(TARGETS)} targets")


def _print(outcome: Outcome) -> None:
    apply, decided = len(outcome.applicable), len(outcome.decided)
    ttft, gap = outcome.metrics.get("ttft_ms", {}), outcome.metrics.get("inter_token_ms", {})
    print(
        f"{outcome.target} ({outcome.server.package} {outcome.version}): {decided} of {apply} decided, "
        f"{len(outcome.found)} not met; TTFT p50 {ttft.get('p50')} ms, time between tokens p50 {gap.get('p50')} ms; "
        f"streams {sum(outcome.ledger.values()) // 2}",
        flush=True,
    )
    for sentence in outcome.unexpected:
        print(f"  unexpected: {sentence}", flush=True)
    for name in outcome.applicable:
        if (check := outcome.checks[name])["verdict"] not in DECIDED:
            print(f"  not decided: {name}: {check['verdict']}: {check['detail'][:160]}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
