"""RunEvent: one event of a stream, in the words of rules, metrics and reports, whatever the API calls it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from harness.protocol.sse import Frame


class PairMark(NamedTuple):
    """What an event does to one thing that is opened and closed. opening: the type that opens it. key: its name."""

    role: Literal["opens", "closes", "inside"]
    opening: str
    key: str

    @property
    def thing(self) -> tuple[str, str]:
        """What it is about."""
        return self.opening, self.key


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One event, as a profile reads it. It may have several meanings, as a last token that tells the outcome.

    type: the API's own word; empty if the event has none. content: one of CONTENTS, with its `text`. whole_text: the
    run's whole text so far, or that of its `part`, which some APIs repeat. outcome: one of OUTCOMES, with the `message`
    of an error.
    is_end: nothing may follow. is_note: about the connection, not the run. is_literal: its data are a text that the
    profile names, such as ``[DONE]``, and no JSON. is_known: a rule matched, or the profile allows its type.
    is_documented: the API's documentation has it. id: where the profile says that ids stand. marks: what it opens,
    closes, or is a part of. problem: why the data are not what the profile expects.
    """

    type: str = ""
    content: str | None = None
    text: str = ""
    whole_text: str | None = None
    part: str | None = None
    outcome: str | None = None
    message: str = ""
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    is_end: bool = False
    is_trailer: bool = False
    is_note: bool = False
    is_keepalive: bool = False
    is_literal: bool = False
    is_known: bool = True
    is_documented: bool = True
    run_id: str | None = None
    id: str | None = None
    marks: tuple[PairMark, ...] = ()
    problem: str | None = None

    @property
    def is_token(self) -> bool:
        """Whether it brings visible text, from which the time to first token is taken."""
        return self.content == "token" and bool(self.text)

    @property
    def is_of_run(self) -> bool:
        """Whether it is one of the run's events, which every connection to the run shares."""
        return not (self.is_note or self.is_keepalive)


class FrameReader(Protocol):
    """Reads the frames of one API's streams."""

    def read(self, frame: Frame) -> RunEvent:
        """What a frame is. A frame without data, as a comment, is a keepalive."""
