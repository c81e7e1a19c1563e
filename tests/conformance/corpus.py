"""The must-not-flag corpus: unusual styles of a correct server, and which of them share one run of the suite.

A run of the suite takes about 2 s of CPU time, so styles that differ in independent options share a server. What the
suite blames on one of them, it blames on the shared server too, if none of them hides another:

- no option, and no declared behaviour that belongs to it, has two values;
- streams that the fast decoder reads are kept apart from those that only the full decoder reads;
- entries that excuse a verdict are kept apart from those that excuse none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.raw_server import Style

CODED = {"headers.content-coding": "warn"}  # a SHOULD: the request accepts identity only
ODD_JSON = {"events.strict-json": "warn"}  # a SHOULD: some clients cannot read it
UNKNOWN_FIELDS = {"framing.fields": "warn"}  # a SHOULD: clients ignore them
COUNTER = {
    "ids.clock": "warn",  # a SHOULD: 1-0 is not a time of day
    # Two runs with the client's runId differ only in their ids, and here not even in those.
    "run-id.key-wins": "inconclusive",
}
RESET_WITHOUT_LENGTH = {"headers.complete": "inconclusive"}  # the end may have been lost in the reset
NOT_JSON = ("409 text", "409 html", "409 empty")
NOT_AN_EVENT = ("409 json", *NOT_JSON)
JSON_CONFLICT = {"conflict.error-event": "warn"}  # a SHOULD: it is not an event
OTHER_SHAPE = {"input.error-shape": "warn"}  # a SHOULD: the other rejections are problem documents
UUID_KEYS = {"key.opaque": "warn", "key.quotes": "inconclusive"}  # a SHOULD: other forms are rejected
ID_IGNORED = {"resume.last-event-id": "warn"}  # a SHOULD, unless the target declares it

#: Options that belong together, and the declared behaviour about them: an entry about one is about all of them.
_RELATED = (
    (("conflict", "failure"), ("conflict",)),
    (("resume_start", "last_event_id", "after_terminal", "unknown_ids"), ("resume_start", "last_event_id")),
)
#: With these, only the full decoder reads the stream.
_IRREGULAR = (
    "bom",
    "multi_line_data",
    "comments",
    "retry",
    "unknown_fields",
    "id_only_blocks",
    "json_space",
    "no_tokens",
    "extra_types",
    "extra_fields",
    "odd_json",
    "heartbeat_lines",
    "gzip",
)
#: A run without tokens has nothing that other options could show.
_HIDING = ("no_tokens",)


def is_regular(style: Style) -> bool:
    """Whether the fast decoder reads streams of this style."""
    if style.line_end == "\r" or (style.line_end == "\r\n" and style.packets == "byte"):
        return False
    return not any(getattr(style, name) for name in _IRREGULAR)


@dataclass(frozen=True)
class Entry:
    """What one run of the suite is about.

    options: of the style; those not named may have any value. unusual: the verdicts other than pass and info. target:
    the behaviour that the target declares. says: findings' details.
    """

    options: Mapping[str, Any]
    unusual: Mapping[str, str] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    says: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Entry, ...] = ()

    @property
    def style(self) -> Style:
        """The style, with the defaults of the options that are not named."""
        return Style(**self.options)

    def __str__(self) -> str:
        declared = ", ".join(f"{name}={value!r}" for name, value in self.target.items())
        return str(self.style) + (f"; declared: {declared}" if declared else "")

    def choices(self) -> dict[str, Any]:
        """What it is about: the value of each option and each declared behaviour that no other entry may change."""
        made = dict(self.options)
        usual = Style()
        for options, declared in _RELATED:
            if made.keys() & set(options) or self.target.keys() & set(declared):
                made |= {name: self.options.get(name, getattr(usual, name)) for name in options}
                made |= {f"target.{name}": self.target.get(name) for name in declared}
        return made

    def joined(self, other: Entry) -> Entry | None:
        """Both in one; None if one would hide the other."""
        mine, its = self.choices(), other.choices()
        if any(mine[name] != its[name] for name in mine.keys() & its.keys()):
            return None
        both = Entry(
            {**self.options, **other.options},
            {**self.unusual, **other.unusual},
            {**self.target, **other.target},
            {**self.says, **other.says},
            (*(self.parts or (self,)), other),
        )
        if {is_regular(one.style) for one in (self, other, both)} == {True, False}:
            return None
        if bool(self.unusual) != bool(other.unusual):
            return None
        return None if any(getattr(both.style, name) for name in _HIDING) else both


def shared_runs(entries: Iterable[Entry]) -> list[Entry]:
    """The entries, joined into few: each into the first that it can be joined with."""
    runs: list[Entry] = []
    for entry in entries:
        for place, run in enumerate(runs):
            both = run.joined(entry)
            if both is not None:
                runs[place] = both
                break
        else:
            runs.append(entry)
    return runs


def _entry(
    unusual: Mapping[str, str] | None = None,
    target: Mapping[str, Any] | None = None,
    says: Mapping[str, str] | None = None,
    **options: Any,
) -> Entry:
    return Entry(options, unusual or {}, target or {}, says or {})


CORPUS = [
    # Lines.
    _entry(line_end="\r\n"),
    _entry(line_end="\r", bom=False),
    _entry(bom=True, line_end="\n"),
    _entry(bom=True, line_end="\r", packets="byte"),
    _entry(space_after_colon=False),
    # Blocks.
    _entry(data_before_id=True),
    _entry(multi_line_data=True),
    _entry(comments=True),
    _entry(retry=True),
    _entry(UNKNOWN_FIELDS, unknown_fields=True),
    _entry(id_only_blocks=True),
    _entry(heartbeat_lines=True, id_only_blocks=False),
    _entry(heartbeat_lines=True, id_only_blocks=True),  # one block: the heartbeat's line, then the id
    _entry(event_names="message"),
    _entry(event_names="type"),
    _entry(event_names="type", extra_types=True, id_only_blocks=True),
    _entry(extra_types=True),
    # Ids.
    _entry(ids="gaps"),
    _entry(ids="same-ms"),
    _entry(ids="nine-ten"),
    _entry(ids="64 bits"),
    _entry(COUNTER, ids="counter"),
    _entry(ids="nine-ten", packets="whole"),
    # Content.
    _entry(unicode="escaped", odd_json=False),
    _entry(json_space=True, multi_line_data=False, space_after_colon=True),
    _entry(json_space=True, multi_line_data=False, space_after_colon=False),
    _entry(no_tokens=True),
    _entry(extra_fields=True),
    _entry(ODD_JSON, odd_json=True),
    _entry(ODD_JSON, odd_json=True, store="values", unicode="escaped"),
    # The HTTP message.
    _entry(content_type="text/event-stream; charset=utf-8"),
    _entry(content_type='Text/Event-Stream ;Charset="UTF-8"; boundary=x'),
    _entry(header_case="lower"),
    _entry(header_case="UPPER"),
    _entry(framing="tiny chunks"),
    _entry(framing="chunked", transfer_encoding="chunked\t"),
    _entry(framing="chunked", transfer_encoding=", Chunked ,"),
    _entry(CODED, gzip=True),
    _entry(CODED, gzip=True, framing="HTTP/1.1 until close", comments=True),
    # Packets.
    _entry(packets="byte"),
    _entry(packets="byte", framing="tiny chunks", unicode="raw", line_end="\r\n"),
    _entry(packets="whole"),
    _entry(packets="whole", framing="HTTP/1.0"),
    # Endings.
    _entry(framing="HTTP/1.0"),
    _entry(framing="HTTP/1.1 until close"),
    _entry(reset_at_end=True, framing="chunked"),
    _entry(reset_at_end=True, framing="chunked", packets="whole"),
    _entry(RESET_WITHOUT_LENGTH, reset_at_end=True, framing="HTTP/1.0"),
    # Conflicts, and runs that fail with a 409 of their own.
    _entry(JSON_CONFLICT, conflict="409 json"),
    _entry(JSON_CONFLICT, conflict="409 json", run_ids="number"),
    _entry(JSON_CONFLICT | OTHER_SHAPE, conflict="409 text"),
    _entry(JSON_CONFLICT | OTHER_SHAPE, conflict="409 html"),
    _entry(JSON_CONFLICT | OTHER_SHAPE, conflict="409 empty"),
    _entry(OTHER_SHAPE, conflict="409 empty", target={"conflict": "http-409"}),
    _entry(conflict="200 event"),
    _entry(conflict="409 stream", target={"conflict": "http-409"}),
    _entry(conflict="409 json", target={"conflict": "http-409"}),
    _entry(conflict="200 event", target={"conflict": "event"}),
    _entry(failure="mentions 409", conflict="200 event"),
    _entry(failure="tool's 409"),
    _entry(failure="code 409", conflict="200 event"),
    _entry(failure="code 409 without runId", conflict="200 event"),
    _entry(failure="code 409 without runId", target={"conflict": "http-409"}),
    # Keys.
    _entry(keys="any"),
    _entry(keys="any", body_comparison="bytes"),
    _entry(UUID_KEYS, keys="uuid"),
    # Resumption.
    _entry(resume_start="tail"),
    _entry(resume_start="tail", ids="same-ms"),
    _entry(ID_IGNORED, last_event_id=False),
    _entry(ID_IGNORED, resume_start="tail", last_event_id=False),
    _entry(paced_replay=True, packets="event"),
    _entry(timed_problems=True),
    _entry(after_terminal="204", unknown_ids="400"),
    _entry(after_terminal="terminal", unknown_ids="ordered"),
    _entry(after_terminal="replay", unknown_ids="terminal"),
    _entry(after_terminal="410", unknown_ids="ordered", resume_start="tail", ids="nine-ten"),
    _entry(
        after_terminal="204",
        unknown_ids="ordered",
        ids="gaps",
        target={"resume_start": "replay", "last_event_id": True},
    ),
    _entry(unknown_ids="terminal", resume_start="tail", target={"resume_start": "tail"}),
    _entry(target={"resume_start": "replay", "last_event_id": True}),
    _entry(resume_start="tail", target={"resume_start": "tail", "last_event_id": True}),
    _entry(ID_IGNORED, last_event_id=False, target={"resume_start": "replay", "last_event_id": False}),
    _entry(
        ID_IGNORED,
        resume_start="tail",
        last_event_id=False,
        ids="same-ms",
        target={"resume_start": "tail", "last_event_id": False},
    ),
    # Stores of values.
    _entry(
        store="values",
        says={
            "resume.replay-bytes": "a retry returns the same values in different bytes (key order, white space, "
            "escapes or forms of numbers)",
        },
    ),
    _entry(store="values", unicode="escaped", json_space=True, multi_line_data=False, extra_fields=True),
    _entry(store="numbers", extra_types=True, extra_fields=True),
    _entry(store="numbers", multi_line_data=True, resume_start="tail"),
    # What the documentation leaves open is found out.
    _entry(body_comparison="bytes"),
    _entry(
        resume_start="tail",
        body_comparison="bytes",
        extra_types=True,
        no_tokens=False,
        says={
            "resume.start": "a resume without Last-Event-ID starts with: tail",
            "key.body-canonical": "a different key order makes a different body; "
            "different whitespace makes a different body",
            "events.unknown-types": "types beyond the documented ones: 'step', 'usage.reported'",
        },
    ),
    _entry(
        **{name: getattr(Style(), name) for name in Style.__dataclass_fields__},
        says={
            "resume.start": "a resume without Last-Event-ID starts with: replay",
            "key.body-canonical": "a different key order makes the same body; "
            "different whitespace makes the same body",
            "events.unknown-types": "none",
            "key.other-route": "a key used on the other route is the same key",
            "resume.replay-bytes": "a retry returns the same bytes",
        },
    ),
]


def allowed(style: Style) -> dict[str, str]:
    """The unusual verdicts that a combination may have: those of its parts."""
    unusual: dict[str, str] = {}
    if style.unknown_fields:
        unusual |= UNKNOWN_FIELDS
    if style.odd_json:
        unusual |= ODD_JSON
    if style.gzip:
        unusual |= CODED
    if style.ids == "counter":
        unusual |= COUNTER
    if style.reset_at_end and style.framing.startswith("HTTP"):
        unusual |= RESET_WITHOUT_LENGTH
    if style.conflict in NOT_AN_EVENT:
        unusual |= JSON_CONFLICT
    if style.conflict in NOT_JSON:
        unusual |= OTHER_SHAPE
    if not style.last_event_id:
        unusual |= ID_IGNORED
    return unusual
