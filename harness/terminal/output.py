"""Says what a test does while it goes on, and its verdict at the end: to a person, to a log, to a program.

Standard output belongs to whoever reads the verdict. With ``--json`` that is a program: it gets one document, and
people get theirs on standard error. With ``--quiet`` it gets one line.
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

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.terminal.dashboard import Dashboard
from harness.terminal.progress_line import plain_line
from harness.terminal.snapshot import read_document

LINE_EVERY_S = 5.0
LOOK_EVERY_S = 1.0
_SMALLEST_HEIGHT = 6
_NOTES = 8


class OutputMode(StrEnum):
    """Who reads standard output."""

    PERSON = "person"
    QUIET = "quiet"
    PROGRAM = "program"


class NullStream(TextIOBase):
    """Takes everything and shows nothing."""

    def write(self, text: str, /) -> int:
        return len(text)


class Output:
    """Enter it around a test. `console` is for what people read; `verdict` and `give` say what came of it.

    live: whether to draw on the terminal; None finds out whether there is one that can be drawn on.
    """

    def __init__(
        self,
        voice: OutputMode = OutputMode.PERSON,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._voice = voice
        self._clock = clock
        self._stdout: TextIO = sys.stdout
        self._stack = ExitStack()
        self._held_back: list[Text] = []
        self._told: deque[Text] = deque(maxlen=_NOTES)
        self._looking: Watch | None = None
        self.console = Console(highlight=False, soft_wrap=True, stderr=voice is OutputMode.PROGRAM)
        self._live = self._can_draw() if live is None else live

    def __enter__(self) -> Self:
        self._stdout = sys.stdout
        if self._voice is OutputMode.PROGRAM:
            self._stack.enter_context(redirect_stdout(sys.stderr))
        elif self._voice is OutputMode.QUIET:
            self._stack.enter_context(redirect_stdout(NullStream()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _can_draw(self) -> bool:
        if self._voice is OutputMode.QUIET or self.console.is_dumb_terminal:
            return False
        return self.console.file.isatty() and self.console.height >= _SMALLEST_HEIGHT

    @property
    def for_ci(self) -> TextIO:
        """Where a CI's runner is told of annotations: it reads both streams, also when people want quiet."""
        return sys.stderr if self._voice is OutputMode.QUIET else sys.stdout

    @property
    def is_colourful(self) -> bool:
        """Whether what is printed may have colours."""
        return self.console.color_system is not None and not self.console.no_color

    def print(self, text: str, style: str = "") -> None:
        """Say something, now, or once the picture is gone; meanwhile it stands in that."""
        self._told.append(Text(text, style))
        self._print(Text(text, style))

    def show(self, text: str) -> None:
        """Print what another process said, colours and all, now, or once the picture is gone."""
        self._print(Text.from_ansi(text))

    def _print(self, text: Text) -> None:
        if self._looking is not None and self._live:
            self._held_back.append(text)
        else:
            self.console.print(text)

    @contextmanager
    def watch(
        self, title: str, load: Path | None, suite: Path | None, is_stopping: Callable[[], bool]
    ) -> Iterator[Callable[[], None]]:
        """In the block, call what it gives again and again: it looks at the files, and says what is new.

        load, suite: the live document, and the progress of the suite; None where there is none. A fault of the
        picture's own ends the picture, is said, and leaves the test alone.
        """
        looking = Watch(title, load, suite, is_stopping, self._clock)
        self._looking = looking
        try:
            with ExitStack() as stack:
                if self._live:
                    picture = Live(console=self.console, screen=True, auto_refresh=False)
                    stack.enter_context(picture)
                    yield self._guarded(lambda: self._draw(picture, looking))
                else:
                    yield self._guarded(lambda: self._write_line(looking))
        finally:
            self._looking = None
            held_back, self._held_back = self._held_back, []
            for text in held_back:
                self.console.print(text)

    def _guarded(self, look: Callable[[], None]) -> Callable[[], None]:
        failed = False

        def guarded() -> None:
            nonlocal failed
            if failed:
                return
            try:
                look()
            except Exception as problem:  # noqa: BLE001 - said, and the test is worth more than its picture
                failed = True
                self.print(
                    f"the live view broke down ({type(problem).__name__}: {problem}); the test goes on",
                    "yellow",
                )

        return guarded

    def _draw(self, picture: Live, looking: Watch) -> None:
        if looking.is_due(LOOK_EVERY_S):
            picture.update(looking.view(tuple(self._told)), refresh=True)

    def _write_line(self, looking: Watch) -> None:
        if self._voice is not OutputMode.QUIET and looking.is_due(LINE_EVERY_S):
            self.console.print(looking.line(), markup=False)

    def verdict(self, line: str) -> None:
        """What came of it all, for people who want no more than that."""
        if self._voice is OutputMode.QUIET:
            self._stdout.write(f"{line}\n")
            self._stdout.flush()

    def emit_json(self, document: Mapping[str, Any]) -> None:
        """The same for a program. Raises ValueError for a document that is not JSON."""
        if self._voice is OutputMode.PROGRAM:
            self._stdout.write(f"{json.dumps(document, indent=2, allow_nan=False)}\n")
            self._stdout.flush()

    @contextmanager
    def output(self) -> Iterator[IO[bytes] | None]:
        """Where a child process may say what people read: None is where this one does."""
        if self._voice is OutputMode.QUIET:
            with Path(os.devnull).open("wb") as nowhere:
                yield nowhere
        elif self._voice is OutputMode.PROGRAM:
            with os.fdopen(os.dup(2), "wb") as stderr:
                yield stderr
        else:
            yield None


class Watch:
    """What is looked at, and when that was last done."""

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
        self._looked_s: float | None = None

    def is_due(self, every_s: float) -> bool:
        """Whether it is time to look again; if so, it counts as done."""
        now_s = self._clock()
        if self._looked_s is not None and now_s - self._looked_s < every_s:
            return False
        self._looked_s = now_s
        return True

    def view(self, notes: tuple[Text, ...]) -> Dashboard:
        return Dashboard(self._title, *self._documents(), notes, stopping=self._is_stopping())

    def line(self) -> str:
        return plain_line(*self._documents())

    def _documents(self) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
        load, suite = (None if path is None else read_document(path) for path in (self._load, self._suite))
        return load, suite
