"""The requirement catalogue as data: the suite's backbone, and the words every report speaks in.

Ids are stable: never renumbered, never reused. The rows stand in the order of diagnosis: what breaks first
comes first, so that the first failure of a run is the one nearest to its cause.

Sources: ``api`` is the API's documentation, ``reading n`` how we read it where it is silent, ``W`` WHATWG
HTML 9.2 (server-sent events), RFC numbers, ``D`` the draft draft-ietf-httpapi-idempotency-key-header,
``Fetch`` the Fetch standard, and ``ours`` what users of such an API rely on though nobody wrote it down.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum


class Level(StrEnum):
    """How grave it is when a requirement is not met."""

    MUST = "MUST"  # fails the run
    SHOULD = "SHOULD"  # warns; fails under --strict
    INFO = "INFO"  # discovers and reports, never fails


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row. `needs` names what the target must offer; without it the verdict is *not applicable*."""

    id: str
    level: Level
    text: str
    source: str
    needs: str = ""

    @property
    def area(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


_ROWS = (
    Requirement("headers.event-stream", Level.MUST, "Success is 200 with `text/event-stream`", "api, W"),
    Requirement("headers.charset", Level.MUST, "charset is absent or utf-8", "W"),
    Requirement(
        "headers.complete",
        Level.MUST,
        "The HTTP message ends properly: last chunk, or true Content-Length, or close-delimited",
        "RFC 9112",
    ),
    Requirement("headers.no-cache", Level.SHOULD, "Cache-Control holds no-store or no-cache", "RFC 9111"),
    Requirement(
        "headers.incremental",
        Level.MUST,
        "Events arrive as they are made, not all at the end",
        "api",
        "long action",
    ),
    Requirement("headers.method", Level.SHOULD, "Another method gets 405 with Allow", "RFC 9110"),
    Requirement(
        "framing.blank-line",
        Level.MUST,
        "Each event ends with a blank line; nothing is pending at the end (a client would discard it)",
        "W",
    ),
    Requirement(
        "framing.utf8",
        Level.MUST,
        "The stream is strict UTF-8, also where a character is split across packets",
        "W",
    ),
    Requirement("framing.bom", Level.MUST, "A BOM stands only at the very start", "W"),
    Requirement(
        "framing.one-json-object", Level.MUST, "The joined `data` of an event is one JSON object", "api"
    ),
    Requirement(
        "framing.content-inert",
        Level.MUST,
        "Line breaks, `data:` or blank lines inside a value never forge a frame",
        "ours",
        "echo action",
    ),
    Requirement("framing.id-no-nul", Level.MUST, "No NUL in an `id`", "W"),
    Requirement("framing.retry-digits", Level.MUST, "`retry` holds ASCII digits only", "W"),
    Requirement("framing.fields", Level.SHOULD, "Only `data`, `id`, `event`, `retry` and comment lines", "W"),
    Requirement(
        "framing.event-name",
        Level.SHOULD,
        "An `event:` field, if sent, is `message` or the event's type",
        "W, ours",
    ),
    Requirement(
        "events.schema",
        Level.MUST,
        "Each event of a known type has its fields: token.content string, done.runId string",
        "api",
    ),
    Requirement("events.type", Level.MUST, "Each event has a string `type`", "api"),
    Requirement(
        "events.error-detail",
        Level.SHOULD,
        "An `error` event says what failed (a code or a message), without a stack trace",
        "ours",
        "failing action",
    ),
    Requirement("events.strict-json", Level.SHOULD, "No NaN or Infinity, no duplicate keys", "RFC 8259"),
    Requirement("events.unknown-types", Level.INFO, "Types beyond the four are listed", "reading 6"),
    Requirement("ids.present", Level.MUST, "Each event has an id of the form `<ms>-<seq>`", "api"),
    Requirement("ids.unique", Level.MUST, "No id comes twice in a run", "reading 8"),
    Requirement("ids.increasing", Level.MUST, "Ids strictly increase, as pairs of numbers", "reading 8"),
    Requirement("ids.clock", Level.SHOULD, "The ms part is near the wall clock", "api"),
    Requirement(
        "terminal.no-tokens",
        Level.MUST,
        "A run that makes no token still ends with its terminal event",
        "api",
        "silent action",
    ),
    Requirement(
        "terminal.failure",
        Level.MUST,
        "A failing action ends with `error`, not with a bare close or `done`",
        "api",
        "failing action",
    ),
    Requirement("terminal.always", Level.MUST, "No stream ends without it", "api"),
    Requirement("terminal.exactly-one", Level.MUST, "A run's stream holds exactly one terminal event", "api"),
    Requirement("terminal.last", Level.MUST, "Nothing but comments follows it", "api"),
    Requirement(
        "terminal.closes", Level.MUST, "The server ends the stream within the time allowed after it", "api"
    ),
    Requirement(
        "terminal.cancelled",
        Level.MUST,
        "A cancelled run ends with one `cancelled`",
        "api",
        "cancel action or endpoint",
    ),
    Requirement(
        "liveness.heartbeat-inert", Level.MUST, "A heartbeat carries no id and no data", "W", "quiet action"
    ),
    Requirement("liveness.first-event", Level.SHOULD, "Head and first event come within the budgets", "ours"),
    Requirement(
        "liveness.heartbeat",
        Level.SHOULD,
        "Silence longer than the budget carries a comment",
        "W",
        "quiet action",
    ),
    Requirement("auth.missing", Level.MUST, "No token: 401, and no run", "api"),
    Requirement("auth.bad", Level.MUST, "A garbage token: 401 (403 tolerated), and no run", "api"),
    Requirement("auth.challenge", Level.SHOULD, "A 401 carries WWW-Authenticate", "RFC 9110"),
    Requirement(
        "auth.before-key",
        Level.MUST,
        "Without a valid token a known key tells nothing (same answer as an unknown one)",
        "ours",
    ),
    Requirement(
        "auth.org-mismatch", Level.MUST, "A foreign organizationId is rejected before any run event", "api"
    ),
    Requirement(
        "auth.org-before-conflict",
        Level.MUST,
        "A foreign org is told about the org, not about a conflict",
        "reading 7",
    ),
    Requirement(
        "auth.key-scope",
        Level.MUST,
        "The same key in two organizations is two runs, and neither sees the other's events",
        "reading 7",
        "second principal",
    ),
    Requirement("auth.query-token", Level.SHOULD, "A token in the query string is refused", "RFC 6750"),
    Requirement("security.no-secrets", Level.MUST, "No answer echoes the token", "ours"),
    Requirement("security.cors", Level.MUST, "No wildcard CORS with credentials", "Fetch"),
    Requirement("security.nosniff", Level.SHOULD, "X-Content-Type-Options: nosniff, errors too", "ours"),
    Requirement("input.not-json", Level.MUST, "Malformed JSON, an array or an empty body is a 4xx", "api"),
    Requirement("input.required", Level.MUST, "Each missing required field is a 4xx", "api"),
    Requirement("input.required-named", Level.SHOULD, "That 4xx names the field", "ours"),
    Requirement("input.types", Level.MUST, "A field of the wrong type is a 4xx", "api"),
    Requirement("input.source", Level.MUST, "A `source` outside the three is a 4xx", "api"),
    Requirement("input.timezone", Level.SHOULD, "A `userTimezone` that is no IANA zone is a 4xx", "api"),
    Requirement(
        "input.hostile",
        Level.MUST,
        "Deep nesting, lone surrogates, NUL, 1e400, huge numbers: never a 5xx, never a hang",
        "ours",
    ),
    Requirement("input.media-type", Level.SHOULD, "Another Content-Type is a 415 or 400", "RFC 9110"),
    Requirement("input.too-large", Level.SHOULD, "An oversized body is a 413 or 400", "RFC 9110"),
    Requirement("input.error-shape", Level.SHOULD, "Every rejection has one shape", "RFC 9457"),
    Requirement("run-id.constant", Level.MUST, "`runId` is the same on every connection to a run", "api"),
    Requirement(
        "run-id.echoed",
        Level.MUST,
        "A client's `runId`, sent with a fresh key or none, is the terminal event's `runId`",
        "api",
    ),
    Requirement(
        "run-id.key-wins",
        Level.MUST,
        "With both, the key alone decides: new key + old runId is a new run; old key + new runId is judged by the key",
        "api",
    ),
    Requirement("run-id.resumes", Level.SHOULD, "Without a key, same runId + same body resumes", "reading 5"),
    Requirement(
        "key.none-independent", Level.MUST, "Without key and runId, equal bodies are independent runs", "api"
    ),
    Requirement(
        "key.opaque",
        Level.SHOULD,
        "A UUID, a quoted structured-field string and a plain token all work as keys",
        "api, D",
    ),
    Requirement("key.bad", Level.SHOULD, "An empty, oversized or control-character key is a 400", "D"),
    Requirement(
        "key.inert",
        Level.MUST,
        "Injection in the key (CRLF, markup, SQL, path) changes nothing and is never echoed raw",
        "ours",
    ),
    Requirement(
        "key.other-route",
        Level.INFO,
        "Whether a key used on the other route is the same key",
        "D",
        "second route",
    ),
    Requirement(
        "key.body-canonical", Level.INFO, "Whether key order and white space make another body", "reading 4"
    ),
    Requirement("resume.no-new-run", Level.MUST, "A retry never executes the action again", "api"),
    Requirement(
        "resume.replay", Level.MUST, "A retry after completion brings the same (id, data) sequence", "api"
    ),
    Requirement(
        "resume.failure-replayed",
        Level.MUST,
        "A failed run's retry replays its failure",
        "api, D",
        "failing action",
    ),
    Requirement(
        "resume.joins",
        Level.MUST,
        "A retry while the run is in flight joins it: same ids, same data, same terminal event",
        "api",
        "long action",
    ),
    Requirement(
        "resume.first-reader-kept",
        Level.MUST,
        "A second connection to a run leaves the first one whole",
        "ours",
        "long action",
    ),
    Requirement(
        "resume.survives-disconnect",
        Level.MUST,
        "A cut (FIN, RST, half-close, before the head) leaves the run resumable with its own outcome",
        "reading 3",
        "long action",
    ),
    Requirement(
        "resume.terminal-race", Level.MUST, "A retry that races the terminal event loses nothing", "ours"
    ),
    Requirement(
        "resume.every-cut",
        Level.MUST,
        "Cut after event k and resumed, what was seen before and after together is the canonical sequence, for every k",
        "api, reading 2",
        "long action",
    ),
    Requirement(
        "resume.last-event-id",
        Level.SHOULD,
        "`Last-Event-ID: k` brings exactly the events after k (MUST where the target declares it)",
        "W",
    ),
    Requirement(
        "resume.bad-last-event-id",
        Level.MUST,
        "A malformed, foreign or future Last-Event-ID: no hang, no 5xx, no forged event",
        "ours",
    ),
    Requirement(
        "resume.start", Level.INFO, "Where a resume without Last-Event-ID starts: replay or tail", "reading 2"
    ),
    Requirement(
        "conflict.rejected",
        Level.MUST,
        "Same key, different body is rejected with 409 (three forms, reading 1)",
        "api",
    ),
    Requirement(
        "conflict.in-flight", Level.MUST, "The same while the first run is still going", "api", "long action"
    ),
    Requirement("conflict.after-completion", Level.MUST, "The same after it ended", "api"),
    Requirement(
        "conflict.any-field",
        Level.MUST,
        "A change in any single field, nested ones too, is a conflict",
        "api",
    ),
    Requirement(
        "conflict.original-untouched",
        Level.MUST,
        "The first run goes on, whole, and its key still resumes it",
        "ours",
        "long action",
    ),
    Requirement("conflict.starts-nothing", Level.MUST, "The rejected request starts no run", "ours"),
    Requirement(
        "conflict.leaks-nothing",
        Level.MUST,
        "The rejection holds nothing of the first run's body or events",
        "D",
    ),
    Requirement("conflict.error-event", Level.SHOULD, "The rejection is an error event", "api"),
    Requirement(
        "race.same-body", Level.MUST, "N simultaneous equal posts: one execution, N identical streams", "api"
    ),
    Requirement(
        "race.different-bodies",
        Level.MUST,
        "N simultaneous different posts: exactly one winner, the rest 409",
        "api",
    ),
    Requirement(
        "race.no-crosstalk",
        Level.MUST,
        "Interleaved runs never show each other's events",
        "ours",
        "echo action",
    ),
    Requirement("race.close-one", Level.MUST, "Closing one stream leaves the others whole", "ours"),
    Requirement(
        "race.slow-reader", Level.SHOULD, "A stalled reader does not slow the others", "ours", "long action"
    ),
)

CATALOGUE: dict[str, Requirement] = {row.id: row for row in _ROWS}


def find(requirement_id: str) -> Requirement:
    """The catalogue's row of that id. Raises KeyError with the nearest known id when there is none."""
    try:
        return CATALOGUE[requirement_id]
    except KeyError:
        near = get_close_matches(requirement_id, CATALOGUE, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KeyError(f"no requirement {requirement_id!r} in the catalogue{hint}") from None


def areas() -> tuple[str, ...]:
    """The catalogue's areas, in its order."""
    return tuple(dict.fromkeys(row.area for row in CATALOGUE.values()))
