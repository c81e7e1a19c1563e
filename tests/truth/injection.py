"""One frame in many is lost, doubled or swapped on its way to one reader: every one that shows is found.

The embedded server spoils frames of its own count, and tells which. What the load reported is held against
that: each spoilt frame that its readers could notice must be reported, by the right requirement and with the
event named, and nothing else may be. Run as a program it repeats this, and prints a table.
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

from harness.commands.reference_process import ReferenceServer
from harness.config.load_settings import LoadSettings
from harness.reference.faults import SPOILT_FRAMES_PATH
from harness.reference.faults.rare import SpoiltFrame
from harness.reference.settings import demo_config
from harness.results.ledger import TERMINAL
from harness.results.reader import Results
from harness.results.records import StreamRecord
from tests.load.locust.test_processes import Load

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
    """What one stream was reported for."""

    requirement: str
    text: str


@dataclass(slots=True)
class Found:
    """What became of one repetition.

    sent: frames, by the server's count. streams: the most that were open at once. spoilt: all such frames.
    visible: those that a reader could notice. missed: those of them that were not reported. invented: what was
    reported of runs of which nothing was spoilt.
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
        """Whether something could be found, all of it was, and nothing else."""
        return bool(self.visible) and not self.missed and not self.invented and self.adds_up

    def complaint(self) -> str:
        """What is wrong, for whoever has to look for it."""
        if not self.visible:
            return f"none of {len(self.spoilt)} spoilt frames could be seen by a reader: load it for longer"
        lines = [
            f"missed {frame}\n  {[_told(row) for row in rows]}\n  reported: {reported}"
            for frame, rows, reported in self.missed
        ]
        lines += [f"invented for {key}: {reported}" for key, reported in self.invented]
        return "\n".join(lines if self.adds_up else [*lines, "the ledger does not add up"])


def _told(row: StreamRecord) -> str:
    return f"{row.journey}/{row.step} {row.outcome} {row.events} events at {row.sent_ns}: {row.reason}"


def right_requirements(frame: SpoiltFrame, rows: Sequence[StreamRecord], run_events: int) -> frozenset[str]:
    """The requirements of which one must be reported for a spoilt frame; empty where no reader could notice it.

    rows: the streams of its run, by the time of their sending, which is the order of the server's connections.
    Only joiners are sent at the same time; of those the frame may have come to any. run_events: how many
    events the run has.

    A frame that was doubled or swapped shows on its own connection, once that got what follows it. One that
    was lost shows there only if it was the run's last: else another stream of the run must have brought it,
    and the journey must have come so far that the two are compared.
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
        # Its parts are the run; they are compared with a stream that brings it from its first event at last.
        if len(rows) < 2 or rows[-1].outcome != "done":
            return False
        if frame.connection == len(rows) - 1:
            return frame.first == 0
        return rows[-1].events == run_events
    others = [row for place, row in enumerate(rows) if place != frame.connection]
    if rows[0].journey == "join" and frame.connection:
        others = list(rows[:1])
    return any(row.outcome in {"done", "abandoned"} and row.events > frame.event for row in others)


def names(reported: Reported, frame: SpoiltFrame, others: Iterable[SpoiltFrame]) -> bool:
    """Whether that is a report of this frame: of several in one run the first that differs is named.

    The last event of a run that was lost has no name: nobody can know what it would have been. Of the first
    one it may be said that the others begin before the stream that lacks it.
    """
    if frame.fault.startswith("drops") and frame.type in TERMINAL:
        return reported.requirement == "terminal.always"
    if frame.fault.startswith("drops") and frame.event == 0 and "starts with event 2, " in reported.text:
        return True
    return any(one.id in reported.text for one in (frame, *others))


def compare(
    kind: str,
    told: Mapping[str, Any],
    rows: Iterable[StreamRecord],
    reports: Mapping[str, Sequence[Reported]],
    run_events: int,
) -> tuple[list[SpoiltFrame], list[tuple[SpoiltFrame, list[StreamRecord], list[Reported]]]]:
    """The spoilt frames that could be noticed, and those of them that were not reported as they should be."""
    by_key: dict[str, list[StreamRecord]] = defaultdict(list)
    for row in rows:
        by_key[row.idempotency_key or ""].append(row)
    spoilt = [SpoiltFrame(**one) for one in told["spoilt"]]
    assert {frame.fault.partition("-")[0] for frame in spoilt} <= {kind}
    visible, missed = [], []
    for frame in spoilt:
        streams = sorted(by_key[frame.key or ""], key=lambda row: row.sent_ns or row.intended_ns)
        right = right_requirements(frame, streams, run_events) if streams else frozenset()
        if not right:
            continue
        visible.append(frame)
        siblings = [one for one in spoilt if one.key == frame.key]
        found = [one for one in reports.get(frame.key or "", ()) if one.requirement in right]
        if not any(names(one, frame, siblings) for one in found):
            missed.append((frame, streams, list(reports.get(frame.key or "", ()))))
    return visible, missed


def reports_of(results: Results) -> dict[str, list[Reported]]:
    """What was reported, by the key of the run: in the rows of its streams, and in the stored examples."""
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
    """Put load on a server that spoils one frame in so many; returns what was found of them.

    stop_timeout_s: how long journeys may go on after `seconds`. One that is broken off compares nothing.
    """
    with ReferenceServer([f"{kind}-one-frame-in-{one_in}"]) as server:
        config = _config(server.base_url, tokens)
        plan = LoadSettings(users=streams, spawn_rate=streams / 2, duration=seconds, journeys=JOURNEYS)
        load = Load(where, server.base_url, plan, "--stop-timeout", str(stop_timeout_s))
        (where / "harness.toml").write_text(
            tomlkit.dumps({**config, "load": plan.model_dump(exclude_none=True)})
        )
        with load.started(timeout_s=seconds + stop_timeout_s + 90):
            pass
        with urllib.request.urlopen(server.base_url + SPOILT_FRAMES_PATH, timeout=30) as answer:
            told = json.load(answer)
    assert "Traceback" not in load.printed, load.printed
    with load.results() as results:
        rows = list(results.streams())
        reports = reports_of(results)
        most = max((row.open_streams for row in results.processes("whole")), default=0)
        found = Found(
            kind, told["frames"], most, results.ledger().adds_up and len(rows) == results.ledger().scheduled
        )
    found.spoilt = [SpoiltFrame(**one) for one in told["spoilt"]]
    found.visible, found.missed = compare(kind, told, rows, reports, tokens + 1)
    known = {frame.key for frame in found.spoilt}
    found.invented = [(key, one) for key, several in reports.items() if key not in known for one in several]
    return found


def _config(base_url: str, tokens: int) -> dict[str, Any]:
    config = demo_config(base_url)
    actions = config["target"]["actions"]
    actions["long"] |= {"tokens": tokens, "intervalMs": 20}
    actions["success"]["text"] = " ".join(f"word{number}" for number in range(tokens))
    return {"target": config["target"], "budgets": _BUDGETS}


def _repetition(kind: str, told: argparse.Namespace) -> Found:
    """One that spoilt a frame where a reader could notice it; as it came out the third time, where none did."""
    for _ in range(_TRIES):
        with tempfile.TemporaryDirectory(prefix="injection-") as where:
            one = inject(
                Path(where),
                kind,
                one_in=told.one_in,
                streams=told.streams,
                seconds=told.seconds,
                tokens=told.tokens,
                stop_timeout_s=told.stop_timeout,
            )
        if one.visible:
            break
    return one


def _line(number: int, one: Found) -> str:
    found = len(one.visible) - len(one.missed)
    counts = (one.sent, one.streams, len(one.spoilt), len(one.visible), found, len(one.invented))
    return f"{one.kind:8}{number:3}" + "".join(f"{count:10}" for count in counts)


def main() -> None:
    """Repeat it for each kind and print a line a repetition; exit with 1 unless all of it was found each time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one-in", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--stop-timeout", type=int, default=PATIENCE_S)
    parser.add_argument("--kind", choices=KINDS, action="append")
    told = parser.parse_args()
    print("kind     no    frames   streams    spoilt   visible     found  invented")
    held = True
    for kind in told.kind or KINDS:
        right = 0
        for number in range(1, told.repetitions + 1):
            one = _repetition(kind, told)
            right += one.holds
            print(_line(number, one), flush=True)
            if not one.holds:
                print(one.complaint(), flush=True)
        print(f"{kind}: {right} of {told.repetitions}", flush=True)
        held = held and right == told.repetitions
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
