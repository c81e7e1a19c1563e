"""The interface of both decoders: the fast one for regular streams, and the full one for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from harness.contract.decoding.read_log import ReadLog
from harness.profiles.run_event import RunEvent
from harness.profiles.workflow_actions.event_id import StreamId
from harness.profiles.workflow_actions.identity import EventIdentity
from harness.protocol.http1 import ResponseHead


class Decoder(Protocol):
    """Decodes one response, read by read, and counts its events.

    events: the run's, as far as a client dispatches them. run_events: those of them that the profile knows. terminals:
    the events that tell how the run ended; `terminal` is the first of them. ends: the events after which nothing may
    follow. output_tokens, reasoning_tokens: the last count that the stream reports, and
    how many of them are reasoning. first_signs_ns: arrival of the first event
    of each of SIGNS. run_id: the first run id. first_id: the first id of the form <ms>-<seq>. head_ns, first_event_ns,
    first_id_ns, terminal_ns, end_ns: arrival of the head, of the first event, of the event with the first id, and of
    the first terminal event and the first end. malformed: why nothing more can be decoded. limit: which limit of the
    harness was reached.
    """

    @property
    def head(self) -> ResponseHead | None:
        """Status and header fields; None until they are complete."""

    @property
    def complete(self) -> bool:
        """Whether the HTTP message is complete."""

    @property
    def can_reuse_connection(self) -> bool:
        """Whether another request may be sent on the same connection (RFC 9112, section 9.3)."""

    @property
    def surplus(self) -> bool:
        """Whether bytes other than line ends follow the end of the message."""

    @property
    def is_regular(self) -> bool:
        """Whether everything so far is a regular event stream without an incomplete event."""

    @property
    def events(self) -> int: ...

    @property
    def extra_lines(self) -> int:
        """Lines that bring no event, or more than LINES_OF_EVENT for one: a response may consist of them."""

    @property
    def run_events(self) -> int: ...

    @property
    def terminals(self) -> int: ...

    @property
    def terminal(self) -> RunEvent | None: ...

    @property
    def ends(self) -> int: ...

    @property
    def output_tokens(self) -> int | None: ...

    @property
    def reasoning_tokens(self) -> int | None: ...

    @property
    def first_signs_ns(self) -> Mapping[str, int]: ...

    @property
    def run_id(self) -> str | None: ...

    @property
    def first_id(self) -> StreamId | None: ...

    @property
    def head_ns(self) -> int | None: ...

    @property
    def first_event_ns(self) -> int | None: ...

    @property
    def first_id_ns(self) -> int | None: ...

    @property
    def terminal_ns(self) -> int | None: ...

    @property
    def end_ns(self) -> int | None: ...

    @property
    def malformed(self) -> str | None: ...

    @property
    def limit(self) -> str | None: ...

    @property
    def coding_fault(self) -> str | None:
        """Why the body is not what Content-Encoding and Transfer-Encoding say; None if it is."""

    def take_chunk(self, data: bytes) -> int | None:
        """Decode a read that is exactly one HTTP chunk with one plain token.

        Returns the number of tokens with content (0 or 1); None if the read is anything else, and belongs to `feed`.
        """

    def feed(self, arrival_ns: int, data: bytes) -> int:
        """Decode one read; returns the number of tokens with content that it completed.

        Raises FastPathError if this decoder cannot decode the response. It is unusable after that.
        """

    def end_of_connection(self) -> None:
        """The server closed its side."""

    def close(self) -> None:
        """No more reads follow: release the parser."""

    def identities(self, log: ReadLog) -> tuple[EventIdentity, ...]:
        """The identity of each event (DecodedFrame.identity). `log` holds all reads."""
