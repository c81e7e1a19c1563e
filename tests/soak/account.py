"""The ledger of a load against the server's own account, step by step: ``python -m tests.soak.account``.

Sessions and cancels run at the same time, in two loads, on the embedded server with a store. Every run of the ledger is
looked up in the store by its idempotency key: each step must have started, ended, failed and cancelled what the server
says, run by run. Exit codes: 0, 1 if they differ.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from harness.results.reader import Results
from harness.results.records import StreamRecord
from tests.mutants.kill_matrix import serving

KINDS = ("started", "done", "error", "cancelled", "without end")
_BEGINS_RUN = frozenset({"run", "original", "step"})
_ENDS_WITHIN_S = 300.0  # with the report, on a busy machine


@dataclass(frozen=True)
class ServersRun:
    """A run as the server stored it.

    ending: the type of its terminal event; "without end" if it has none. longest_gap_ms: between two of its events, by
    the server's clock.
    """

    key: str
    run_id: str
    ending: str
    events: int
    longest_gap_ms: float = 0.0


@dataclass(frozen=True)
class Account:
    """Numbers of runs by step and KINDS, as each side counted them.

    differences: of single runs, in sentences. longest_delay_ms: how much longer than on the server the longest gap
    between two events of a run was here.
    """

    ours: dict[str, Counter[str]]
    servers: dict[str, Counter[str]]
    differences: list[str]
    longest_delay_ms: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether both sides counted the same, and no run differs."""
        return not self.differences and self.ours == self.servers

    def lines(self) -> Iterator[str]:
        """A table."""
        yield f"{'step':20}{'':9}" + "".join(f"{kind:>13}" for kind in KINDS)
        for step in sorted(self.ours.keys() | self.servers.keys()):
            for side, counts in (("harness", self.ours), ("server", self.servers)):
                numbers = counts.get(step, Counter())
                yield f"{step:20}{side:9}" + "".join(f"{numbers[kind]:>13,}" for kind in KINDS)
        yield from self.differences[:20]
        yield f"longest gap between events: at most {self.longest_delay_ms:.0f} ms longer than on the server"
        yield (
            f"{len(self.differences)} runs differ"
            if self.differences
            else "every run is the same on both sides"
        )


def stored_runs(store: Path) -> dict[str, ServersRun]:
    """The server's runs by their idempotency key."""
    of_run = "FROM events WHERE run = number AND type != ''"
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        rows = database.execute(
            f"SELECT key, run_id, (SELECT group_concat(type) {of_run} AND type IN ('done', 'error', 'cancelled')), "
            f"(SELECT count(*) {of_run}), "
            f"(SELECT max(gap) FROM (SELECT ms - lag(ms) OVER (ORDER BY place) AS gap {of_run})) "
            "FROM runs WHERE kind = 'key'"
        ).fetchall()
    return {
        key: ServersRun(key, run_id, ending or "without end", events, gap_ms or 0.0)
        for key, run_id, ending, events, gap_ms in rows
    }


def compare(rows: Iterable[StreamRecord], runs: dict[str, ServersRun], *, preflights: int = 0) -> Account:
    """rows: all streams of the loads. runs: all that the server stored since before them.

    preflights: runs that tested before the loads whether the target can be tested; they are in no ledger.
    """
    ours: dict[str, Counter[str]] = {}
    servers: dict[str, Counter[str]] = {}
    differences: list[str] = []
    seen: set[str] = set()
    longest_delay_ms = 0.0
    for row in rows:
        key = row.idempotency_key
        if key is None or row.step.rstrip("0123456789") not in _BEGINS_RUN:
            continue  # another stream of a run, or the request that cancels one
        if key in seen and row.step == "run":
            continue  # the second reader of a run to be cancelled
        seen.add(key)
        step = row.journey
        ours.setdefault(step, Counter()).update(("started", row.outcome))
        run = runs.get(key)
        if run is None:
            differences.append(f"the server has no run of {step} with the key {key}: {row.outcome}")
            continue
        servers.setdefault(step, Counter()).update(("started", run.ending))
        longest_delay_ms = max(longest_delay_ms, (row.stall_ms or 0.0) - run.longest_gap_ms)
        if (row.outcome, row.run_id, row.events) != (run.ending, run.run_id, run.events):
            differences.append(
                f"{step}, key {key}: {row.outcome} with {row.events} events as {row.run_id} ({row.reason}), and the "
                f"server has {run.ending} with {run.events} as {run.run_id}, with {run.longest_gap_ms:g} ms between two"
            )
    unknown = [run for key, run in runs.items() if key not in seen]
    if len(unknown) != preflights or any(run.ending != "done" for run in unknown):
        differences += [
            f"the server has a run with the key {run.key} that no step started: {run.ending}"
            for run in unknown
        ]
    return Account(ours, servers, differences, longest_delay_ms)


def main() -> int:
    """Run both loads and print the account."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--cancels", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=120)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="account-") as name:
        folder = Path(name)
        with serving(None, folder / "server", shared=True) as demo:
            patient_s = options.seconds  # the machine may be busy
            demo["budgets"] |= dict.fromkeys(("first_event", "heartbeat", "cancel"), patient_s) | {
                "run": 2 * patient_s
            }
            (folder / "harness.toml").write_text(tomlkit.dumps(demo))
            loads = {"workflow": options.sessions, "cancel": options.cancels}
            processes = [
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "harness", "load", "--config", str(folder / "harness.toml")),
                        *("--journey", f"{journey}=1", "--rate", str(count / options.seconds)),
                        *("--duration", f"{options.seconds}s", "--out", str(folder / journey), "--quiet"),
                    ],
                    cwd=folder,
                )
                for journey, count in loads.items()
            ]
            codes = [process.wait(options.seconds + _ENDS_WITHIN_S) for process in processes]
        rows: list[StreamRecord] = []
        for journey in loads:
            with Results(folder / journey / "results.sqlite") as results:
                ledger = results.ledger()
                print(f"{journey}: {results.ledger()}; {'adds up' if ledger.adds_up else 'DOES NOT ADD UP'}")
                rows += results.streams()
        runs = stored_runs(folder / "server.db")
        account = compare(rows, runs, preflights=len(loads))
        print("\n".join(account.lines()))
        print(f"exit codes of the loads: {codes}")
    return 0 if account.agrees and not any(codes) else 1


if __name__ == "__main__":
    sys.exit(main())
