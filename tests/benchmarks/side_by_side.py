"""Compares our users with stock clients: same target, same core, in turns.

python -m tests.benchmarks.side_by_side              everything, into docs/performance.md; about 14 minutes
python -m tests.benchmarks.side_by_side --quick      less, only printed; about 3 minutes
python -m tests.benchmarks.side_by_side blast ttft   only these parts; the others keep their last measurements
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
from tests.benchmarks.page import goals, page, write
from tests.benchmarks.parts import FORMAT, FULL, PARTS, QUICK, QUICK_PARTS, Document, log
from tests.benchmarks.target import BUILD, cores, raise_file_limit

_NEEDED_FILES = 10_000


def main() -> int:
    """Measure, store and print. Returns 1 if a measured goal is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}")
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter measurements; does not update the page"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown part: {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    folder = BUILD / ("quick" if arguments.quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    _warn_about_machine()
    names = arguments.parts or (QUICK_PARTS if arguments.quick else list(PARTS))
    with _exclusive():
        for name in names:
            _measure(name, folder, quick=arguments.quick)
            documents = _measured(folder, names if arguments.quick else PARTS)
            if not arguments.quick:  # after each part, so that an interrupted benchmark loses only one
                write(documents)
    log("")
    log(page(documents))
    return int(any(goal.met is False for goal in goals(documents)))


def _warn_about_machine() -> None:
    if (limit := raise_file_limit()) < _NEEDED_FILES:
        log(f"the limit of open files is {limit}: larger steps of the ladder will fail")
    if cores() == (None, None):
        log("no separate core for the target, or no way to pin one: target and client share their cores")


@contextmanager
def _exclusive() -> Iterator[None]:
    """Wait for other benchmarks on this machine, and keep new ones from starting."""
    with (BUILD / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("waiting for another benchmark on this machine to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _measure(name: str, folder: Path, *, quick: bool) -> None:
    log(f"-- {name}")
    began_s = time.monotonic()
    document = PARTS[name](QUICK if quick else FULL)
    document |= {"format": FORMAT, "machine": machine(), "took_s": round(time.monotonic() - began_s)}
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def _measured(folder: Path, names: Iterable[str]) -> dict[str, Document]:
    files = {name: folder / f"{name}.json" for name in names}
    documents = {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}
    return {name: document for name, document in documents.items() if document.get("format") == FORMAT}


if __name__ == "__main__":
    sys.exit(main())
