"""The console on which every command prints: text from servers and files cannot control the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from harness.formatting import visible


class SafeConsole(Console):
    """A Console that prints control characters as escapes, except those by which it draws itself.

    A string is shown as it is: `[red]` in the name of a folder is not markup, and `:x:` not a picture.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        """Print no more when the reader of a pipe has gone, as with ``| head``.

        The test continues, and its exit code is that of its verdict.
        """
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):  # not a file
            os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)

    def render_str(self, text: str, **options: Any) -> Text:
        """See Console. Before a cell is measured, so that an escape is not cut."""
        return super().render_str(visible(text, keep="\n\t"), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See Console. Everything printed passes here, also cells of tables and live displays."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield segment._replace(text=visible(segment.text, keep="\n"))
