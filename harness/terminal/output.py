"""Shows a test's progress while it runs and its verdict at the end: to a person, a log or a program.

Standard output is for the verdict. With ``--json`` it is one JSON document, and text for people goes to standard error.
With ``--quiet`` it is one line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from enum import StrEnum
from io import TextIOBase
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TextIO

from rich.live import Live
from rich.text import Text

from harness.formatting import visible
from harness.terminal.dashboard import Dashboard
from harness.terminal.progress_line import progress_line
from harness.terminal.safe_console import SafeConsole
from harness.terminal.snapshot import read_document

LINE_INTERVAL_S = 5.0
REFRESH_INTERVAL_S = 1.0
_MIN_DASHBOARD_HEIGHT = 6
_MAX_NOTES = 8
_TAIL_LINES = 12
_TAIL_BYTES = 64 * 1024  # of a log that may have gigabytes


class OutputMode(StrEnum):
    """The reader of standard output."""

    PERSON = "person"
    QUIET = "quiet"
    PROGRAM = "program"


class NullStream(TextIOBase):
    """Discards what is written to it."""

    def write(self, text: str, /) -> int:
        return len(text)


class Output:
    """Where a test prints. Use it as a context manager around the test.

    `console` is for people; `verdict` and `emit_json` print the result. live: whether to draw a dashboard; None draws
    one if the terminal supports it.
    """

    def __init__(
        self,
        mode: OutputMode = OutputMode.PERSON,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mode = mode
        self._clock = clock
        self._stdout: TextIO = sys.stdout
        self._stack = ExitStack()
        self._deferred: list[Text] = []
        self._notes: deque[Text] = deque(maxlen=_MAX_NOTES)
        self._watch: Watch | None = None
        self.console = SafeConsole(highlight=False, soft_wrap=True, stderr=mode is OutputMode.PROGRAM)
        self._live = self._can_draw() if live is None else live

    def __enter__(self) -> Self:
        self._stdout = sys.stdout
        if self._mode is OutputMode.PROGRAM:
            self._stack.enter_context(redirect_stdout(sys.stderr))
        elif self._mode is OutputMode.QUIET:
            self._stack.enter_context(redirect_stdout(NullStream()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def leave_terminal(self) -> None:
        """Draw no dashboard, because something else asks on the terminal."""
        self._live = False

    def _can_draw(self) -> bool:
        if self._mode is OutputMode.QUIET or self.console.is_dumb_terminal:
            return False
        return self.console.file.isatty() and self.console.height >= _MIN_DASHBOARD_HEIGHT

    @property
    def for_ci(self) -> TextIO:
        """The stream for annotations of a CI system, which reads both streams. With --quiet it is standard error."""
        return sys.stderr if self._mode is OutputMode.QUIET else sys.stdout

    def print(self, text: str, style: str = "") -> None:
        """Print a line. While a dashboard is drawn, the line is a note on it and is printed when the dashboard ends."""
        line = Text(visible(text, keep="\n"), style)
        self._notes.append(line)
        self._print(line)

    def show(self, text: Text | str) -> None:
        """Print a text, which is not a note: at once, or when the dashboard ends."""
        self._print(Text(text) if isinstance(text, str) else text)

    def show_tail(self, log: Path) -> None:
        """Show the last lines of another process's log."""
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
        self._print(Text.from_ansi("\n".join(lines[-_TAIL_LINES:])))

    def _print(self, text: Text) -> None:
        if self._watch is not None and self._live:
            self._deferred.append(text)
        else:
            self.console.print(text)

    @contextmanager
    def watch(
        self, title: str, load: Path | None, suite: Path | None, is_stopping: Callable[[], bool]
    ) -> Iterator[Callable[[], None]]:
        """Yield a function to call repeatedly: it reads the files and shows what is new.

        load, suite: the files with the live numbers and the suite's progress; None if there is none. An error in the
        display ends the display with a message; the test continues.
        """
        watch = Watch(title, load, suite, is_stopping, self._clock)
        self._watch = watch
        try:
            with ExitStack() as stack:
                if self._live:
                    screen = Live(console=self.console, screen=True, auto_refresh=False)
                    stack.enter_context(screen)
                    yield self._guarded(lambda: self._draw(screen, watch))
                else:
                    yield self._guarded(lambda: self._write_line(watch))
        finally:
            self._watch = None
            deferred, self._deferred = self._deferred, []
            for text in deferred:
                self.console.print(text)

    def _guarded(self, update: Callable[[], None]) -> Callable[[], None]:
        failed = False

        def guarded() -> None:
            nonlocal failed
            if failed:
                return
            try:
                update()
            except Exception as problem:  # noqa: BLE001 - reported, and the test must continue without its display
                failed = True
                self.print(
                    f"the live view failed ({type(problem).__name__}: {problem}); the test continues",
                    "yellow",
                )

        return guarded

    def _draw(self, screen: Live, watch: Watch) -> None:
        if watch.is_due(REFRESH_INTERVAL_S):
            screen.update(watch.dashboard(tuple(self._notes)), refresh=True)

    def _write_line(self, watch: Watch) -> None:
        if self._mode is not OutputMode.QUIET and watch.is_due(LINE_INTERVAL_S):
            self.console.print(watch.line(), markup=False)

    def verdict(self, line: str) -> None:
        """Print the verdict, with --quiet only."""
        if self._mode is OutputMode.QUIET:
            self._stdout.write(f"{line}\n")
            self._stdout.flush()

    def emit_json(self, document: Mapping[str, Any]) -> None:
        """Print a JSON document, with --json only. Raises ValueError for values that JSON cannot contain."""
        if self._mode is OutputMode.PROGRAM:
            self._stdout.write(f"{json.dumps(document, indent=2, allow_nan=False)}\n")
            self._stdout.flush()

    @contextmanager
    def child_output(self) -> Iterator[IO[bytes] | None]:
        """The output of a child process that prints text for people; None to inherit this process's."""
        if self._mode is OutputMode.QUIET:
            with Path(os.devnull).open("wb") as null:
                yield null
        elif self._mode is OutputMode.PROGRAM:
            with os.fdopen(os.dup(2), "wb") as stderr:
                yield stderr
        else:
            yield None


class Watch:
    """The files that show a running test, and the time of the last look at them."""

    def __init__(
        self,
        title: str,
        load: Path | None,
        suite: Path | None,
        is_stopping: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._title = title
        self._load = load
        self._suite = suite
        self._is_stopping = is_stopping
        self._clock = clock
        self._last_look_s: float | None = None

    def is_due(self, interval_s: float) -> bool:
        """Whether the interval has passed since the last look. If so, this is the new last look."""
        now_s = self._clock()
        if self._last_look_s is not None and now_s - self._last_look_s < interval_s:
            return False
        self._last_look_s = now_s
        return True

    def dashboard(self, notes: tuple[Text, ...]) -> Dashboard:
        return Dashboard(self._title, *self._documents(), notes, stopping=self._is_stopping())

    def line(self) -> str:
        return progress_line(*self._documents())

    def _documents(self) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
        load, suite = (None if path is None else read_document(path) for path in (self._load, self._suite))
        return load, suite
