"""One frame in many is lost, doubled or swapped for one reader: every one that its readers can notice is found.

The reference server spoils frames and lists them. The reports of the load test are checked against that list: each
spoilt frame that its readers can notice must be reported, under the right requirement and with the event named, and
nothing else may be reported. As a program it repeats this and prints a table.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomlkit

from harness.config.load_settings import LoadSettings
from harness.reference.faults import SPOILT_FRAMES_PATH
from harness.reference.faults.rare import SpoiltFrame
from harness.reference.settings import demo_config
from harness.results.ledger import TERMINAL
from harness.results.reader import Results
from harness.results.records import StreamRecord
from tests.forked import embedded_server
from tests.load.locust_process import Load

KINDS = ("drops", "doubles", "swaps")
JOURNEYS = {"replay": 1, "resume": 1, "join": 1}
PATIENCE_S = 90
_TRIES = 3
_BUDGETS = {"first_event": 20, "terminal_close": 20, "heartbeat": 20, "run": 60}

_LOST = frozenset(
    ("resume.replay", "resume.every-cut", "resume.last-event-id", "resume.joins", "resume.first-reader-kept")
)
_RIGHT = {"doubles": frozenset(("ids.unique",)), "swaps": frozenset(("ids.increasing",))}


@dataclass(frozen=True, slots=True)
class Reported:
    """A finding reported for a run."""

    requirement: str
    text: str


@dataclass(slots=True)
class Found:
    """The result of one repetition.

    sent: frames, counted by the server. streams: the most that were open at once. spoilt: all spoilt frames.
    visible: those that a reader could notice. missed: visible frames that were not reported. invented: reports for
    runs without a spoilt frame.
    """

    kind: str
    sent: int
    streams: int
    adds_up: bool
    spoilt: list[SpoiltFrame] = field(default_factory=list)
    visible: list[SpoiltFrame] = field(default_factory=list)
    missed: list[tuple[SpoiltFrame, list[StreamRecord], list[Reported]]] = field(default_factory=list)
    invented: list[tuple[str, Reported]] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether there was something to find, all of it was found, and nothing else was reported."""
        return bool(self.visible) and not self.missed and not self.invented and self.adds_up

    def problem(self) -> str:
        """What is wrong, in detail."""
        if not self.visible:
            return (
                f"none of {len(self.spoilt)} spoilt frames was visible to a reader: run the load for longer"
            )
        lines = [
            f"missed {frame}\n  {[_described(row) for row in rows]}\n  reported: {reported}"
            for frame, rows, reported in self.missed
        ]
        lines += [f"invented for {key}: {reported}" for key, reported in self.invented]
        return "\n".join(lines if self.adds_up else [*lines, "the ledger does not add up"])


def _described(row: StreamRecord) -> str:
    return f"{row.journey}/{row.step} {row.outcome} {row.events} events at {row.sent_ns}: {row.reason}"


def right_requirements(frame: SpoiltFrame, rows: Sequence[StreamRecord], run_events: int) -> frozenset[str]:
    """The requirements of which one must be reported for a spoilt frame; empty if no reader could notice it.

    rows: the streams of its run in sending order, which is the order of the server's connections. Only joiners are
    sent at the same time; the frame may have gone to any of them. run_events: the run's number of events.

    A doubled or swapped frame shows on its own connection, once the following frame has arrived. A lost frame shows
    there only if it was the run's last; otherwise another stream of the run must have received it, and the journey
    must have got far enough to compare the two.
    """
    if any(row.outcome == "in flight" for row in rows) or frame.connection >= len(rows):
        return frozenset()
    readers = [rows[frame.connection]] if rows[0].journey != "join" or not frame.connection else rows[1:]
    kind = frame.fault.partition("-")[0]
    if kind != "drops":
        return _RIGHT[kind] if all(row.events > frame.place for row in readers) else frozenset()
    if frame.type in TERMINAL:
        cut_short = any(row.outcome == "abandoned" for row in readers)
        return frozenset() if cut_short else frozenset(("terminal.always",))
    if any(row.events < frame.place for row in readers):
        return frozenset()
    return _LOST if _is_compared(frame, rows, run_events) else frozenset()


def _is_compared(frame: SpoiltFrame, rows: Sequence[StreamRecord], run_events: int) -> bool:
    if rows[0].journey == "resume":
        # The parts are compared with a stream that has the run from its first event.
        if len(rows) < 2 or rows[-1].outcome != "done":
            return False
        if frame.connection == len(rows) - 1:
            return frame.first == 0
        return rows[-1].events == run_events
    others = [row for index, row in enumerate(rows) if index != frame.connection]
    if rows[0].journey == "join" and frame.connection:
        others = list(rows[:1])
    return any(row.outcome in {"done", "abandoned"} and row.events > frame.event for row in others)


def names(reported: Reported, frame: SpoiltFrame, others: Iterable[SpoiltFrame]) -> bool:
    """Whether this is a report of the frame. Of several spoilt frames in one run, the first that differs is named.

    A lost terminal event cannot be named, because it is unknown. For a lost first event the report may say that the
    other streams start before the one that lacks it.
    """
    if frame.fault.startswith("drops") and frame.type in TERMINAL:
        return reported.requirement == "terminal.always"
    if frame.fault.startswith("drops") and frame.event == 0 and "starts with event 2, " in reported.text:
        return True
    return any(spoilt.id in reported.text for spoilt in (frame, *others))


def compare(
    kind: str,
    server_report: Mapping[str, Any],
    rows: Iterable[StreamRecord],
    reports: Mapping[str, Sequence[Reported]],
    run_events: int,
) -> tuple[list[SpoiltFrame], list[tuple[SpoiltFrame, list[StreamRecord], list[Reported]]]]:
    """The visible spoilt frames, and those of them that were not correctly reported."""
    by_key: dict[str, list[StreamRecord]] = defaultdict(list)
    for row in rows:
        by_key[row.idempotency_key or ""].append(row)
    spoilt = [SpoiltFrame(**frame) for frame in server_report["spoilt"]]
    assert {frame.fault.partition("-")[0] for frame in spoilt} <= {kind}
    visible, missed = [], []
    for frame in spoilt:
        streams = sorted(by_key[frame.key or ""], key=lambda row: row.sent_ns or row.intended_ns)
        right = right_requirements(frame, streams, run_events) if streams else frozenset()
        if not right:
            continue
        visible.append(frame)
        siblings = [other for other in spoilt if other.key == frame.key]
        candidates = [report for report in reports.get(frame.key or "", ()) if report.requirement in right]
        if not any(names(report, frame, siblings) for report in candidates):
            missed.append((frame, streams, list(reports.get(frame.key or "", ()))))
    return visible, missed


def reports_of(results: Results) -> dict[str, list[Reported]]:
    """All reports by the run's key: in the rows of its streams and in the stored examples."""
    reports: dict[str, list[Reported]] = defaultdict(list)
    keys = set()
    for row in results.streams():
        keys.add(row.idempotency_key)
        if row.reason is not None:
            requirement, _, detail = row.reason.partition(": ")
            reports[row.idempotency_key or ""].append(Reported(requirement, detail))
    for example in results.violations():
        assert example.evidence, example
        for key in {key for key in keys if key and any(key in shown["curl"] for shown in example.evidence)}:
            reports[key].append(Reported(example.requirement, example.detail))
    return reports


def inject(
    where: Path,
    kind: str,
    *,
    one_in: int,
    streams: int,
    seconds: float,
    tokens: int,
    stop_timeout_s: int = PATIENCE_S,
) -> Found:
    """Run a load test against a server that spoils one frame in `one_in`.

    stop_timeout_s: how long journeys may continue after `seconds`. An interrupted journey compares nothing.
    """
    with embedded_server([f"{kind}-one-frame-in-{one_in}"]) as base_url:
        config = _config(base_url, tokens)
        plan = LoadSettings(users=streams, spawn_rate=streams / 2, duration=seconds, journeys=JOURNEYS)
        load = Load(where, base_url, plan, "--stop-timeout", str(stop_timeout_s))
        (where / "harness.toml").write_text(
            tomlkit.dumps({**config, "load": plan.model_dump(exclude_none=True)})
        )
        with load.started(timeout_s=seconds + stop_timeout_s + 90):
            pass
        with urllib.request.urlopen(base_url + SPOILT_FRAMES_PATH, timeout=30) as response:
            server_report = json.load(response)
    assert "Traceback" not in load.printed, load.printed
    with load.results() as results:
        rows = list(results.streams())
        reports = reports_of(results)
        most = max((row.open_streams for row in results.processes("whole")), default=0)
        found = Found(
            kind,
            server_report["frames"],
            most,
            results.ledger().adds_up and len(rows) == results.ledger().scheduled,
        )
    found.spoilt = [SpoiltFrame(**frame) for frame in server_report["spoilt"]]
    found.visible, found.missed = compare(kind, server_report, rows, reports, tokens + 1)
    spoilt_keys = {frame.key for frame in found.spoilt}
    found.invented = [
        (key, report) for key, of_run in reports.items() if key not in spoilt_keys for report in of_run
    ]
    return found


def _config(base_url: str, tokens: int) -> dict[str, Any]:
    config = demo_config(base_url)
    actions = config["target"]["actions"]
    actions["long"] |= {"tokens": tokens, "intervalMs": 20}
    actions["success"]["text"] = " ".join(f"word{number}" for number in range(tokens))
    return {"target": config["target"], "budgets": _BUDGETS}


def _repetition(kind: str, options: argparse.Namespace) -> Found:
    """A repetition with a visible spoilt frame; the third one if none has."""
    for _ in range(_TRIES):
        with tempfile.TemporaryDirectory(prefix="injection-") as where:
            found = inject(
                Path(where),
                kind,
                one_in=options.one_in,
                streams=options.streams,
                seconds=options.seconds,
                tokens=options.tokens,
                stop_timeout_s=options.stop_timeout,
            )
        if found.visible:
            break
    return found


def _line(number: int, found: Found) -> str:
    reported = len(found.visible) - len(found.missed)
    counts = (found.sent, found.streams, len(found.spoilt), len(found.visible), reported, len(found.invented))
    return f"{found.kind:8}{number:3}" + "".join(f"{count:10}" for count in counts)


def main() -> None:
    """Repeat for each kind and print a line per repetition; exit with 1 unless everything was found each time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one-in", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--stop-timeout", type=int, default=PATIENCE_S)
    parser.add_argument("--kind", choices=KINDS, action="append")
    options = parser.parse_args()
    print("kind     no    frames   streams    spoilt   visible     found  invented")
    all_hold = True
    for kind in options.kind or KINDS:
        right = 0
        for number in range(1, options.repetitions + 1):
            found = _repetition(kind, options)
            right += found.holds
            print(_line(number, found), flush=True)
            if not found.holds:
                print(found.problem(), flush=True)
        print(f"{kind}: {right} of {options.repetitions}", flush=True)
        all_hold = all_hold and right == options.repetitions
    sys.exit(0 if all_hold else 1)


if __name__ == "__main__":
    main()
