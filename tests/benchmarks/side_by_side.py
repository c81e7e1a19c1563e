"""Our users beside stock clients: same target, same core, turn by turn, so that only the ratios count.

python -m tests.benchmarks.side_by_side              all of it, into docs/performance.md: some 12 minutes
python -m tests.benchmarks.side_by_side --quick      less of it, printed and not kept there: some 3 minutes
python -m tests.benchmarks.side_by_side blast ttft   these parts; the others stand as they were measured last
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.machine import machine
from tests.benchmarks.page import bars, page, write
from tests.benchmarks.parts import FORMAT, FULL, PARTS, QUICK, QUICK_PARTS, Document, say
from tests.benchmarks.target import BUILD, cores, raise_file_limit

_FILES_WANTED = 10_000


def main() -> int:
    """Measure, keep what was measured, and show it. Returns 1 where a bar was measured and missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--quick", action="store_true", help="less often and less long; leaves the page alone"
    )
    told = parser.parse_args()
    if unknown := set(told.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    where = BUILD / ("quick" if told.quick else "full")
    where.mkdir(parents=True, exist_ok=True)
    _say_what_is_lacking()
    names = told.parts or (QUICK_PARTS if told.quick else list(PARTS))
    with _alone():
        for name in names:
            _measure(name, where, quick=told.quick)
    documents = _measured(where, names if told.quick else PARTS)
    say("")
    say(page(documents))
    if not told.quick:
        write(documents)
    return int(any(bar.met is False for bar in bars(documents)))


def _say_what_is_lacking() -> None:
    if (limit := raise_file_limit()) < _FILES_WANTED:
        say(f"only {limit} files may be open here: rungs of the ladder near or above that cannot be held")
    if cores() == (None, None):
        say(
            "there is no second core for the target, or no way to choose one: it is measured along with the client"
        )


@contextmanager
def _alone() -> Iterator[None]:
    """While the block runs no other benchmark does: each would be the other's noise."""
    with (BUILD / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another benchmark is running here; waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _measure(name: str, where: Path, *, quick: bool) -> None:
    say(f"-- {name}")
    began_s = time.monotonic()
    document = PARTS[name](QUICK if quick else FULL)
    document |= {"format": FORMAT, "machine": machine(), "took_s": round(time.monotonic() - began_s)}
    (where / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def _measured(where: Path, names: Iterable[str]) -> dict[str, Document]:
    files = {name: where / f"{name}.json" for name in names}
    found = {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}
    return {name: document for name, document in found.items() if document.get("format") == FORMAT}


if __name__ == "__main__":
    sys.exit(main())
