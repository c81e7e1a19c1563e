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
    """One row.

    why: what goes wrong where it is not met. needs: what the target must offer; without it the verdict is
    *not applicable*.
    """

    id: str
    level: Level
    text: str
    why: str
    source: str
    needs: str = ""

    @property
    def area(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


_ROWS = (
    Requirement(
        "headers.event-stream",
        Level.MUST,
        "Success is 200 with `text/event-stream`",
        why="A client's event-stream reader gives up on any other status or type.",
        source="api, W",
    ),
    Requirement(
        "headers.charset",
        Level.MUST,
        "charset is absent or utf-8",
        why="An event stream is always UTF-8; another label makes proxies and clients decode it wrongly.",
        source="W",
    ),
    Requirement(
        "headers.complete",
        Level.MUST,
        "The HTTP message ends properly: last chunk, or true Content-Length, or close-delimited",
        why="A message cut short cannot be told from a lost connection: clients retry what was done.",
        source="RFC 9112",
    ),
    Requirement(
        "headers.no-cache",
        Level.SHOULD,
        "Cache-Control holds no-store or no-cache",
        why="A cache that keeps the stream replays one user's run to the next, or holds tokens back.",
        source="RFC 9111",
    ),
    Requirement(
        "headers.incremental",
        Level.MUST,
        "Events arrive as they are made, not all at the end",
        why="A stream that comes all at once is a slow answer with extra steps; users stare at nothing.",
        source="api",
        needs="long action",
    ),
    Requirement(
        "headers.method",
        Level.SHOULD,
        "Another method gets 405 with Allow",
        why="A 405 with Allow tells a mistaken client what to do; anything else sends it searching.",
        source="RFC 9110",
    ),
    Requirement(
        "framing.blank-line",
        Level.MUST,
        "Each event ends with a blank line; nothing is pending at the end (a client would discard it)",
        why="A client discards an event that has no blank line after it: the last words of a run are lost.",
        source="W",
    ),
    Requirement(
        "framing.utf8",
        Level.MUST,
        "The stream is strict UTF-8, also where a character is split across packets",
        why="A character split over two packets, or another encoding, shows as garbage or kills the decoder.",
        source="W",
    ),
    Requirement(
        "framing.bom",
        Level.MUST,
        "A BOM stands only at the very start",
        why="In mid-stream a BOM becomes part of a field's name, and the field is ignored.",
        source="W",
    ),
    Requirement(
        "framing.one-json-object",
        Level.MUST,
        "The joined `data` of an event is one JSON object",
        why="Clients parse an event's data as one object; two, or half of one, throws.",
        source="api",
    ),
    Requirement(
        "framing.content-inert",
        Level.MUST,
        "Line breaks, `data:` or blank lines inside a value never forge a frame",
        why="If a line break in a value reaches the wire raw, whoever controls the text forges events.",
        source="ours",
        needs="echo action",
    ),
    Requirement(
        "framing.id-no-nul",
        Level.MUST,
        "No NUL in an `id`",
        why="Clients ignore an id with a NUL, and then resume from an older one.",
        source="W",
    ),
    Requirement(
        "framing.retry-digits",
        Level.MUST,
        "`retry` holds ASCII digits only",
        why="Clients ignore a retry field that is not all digits: the server's wish is lost in silence.",
        source="W",
    ),
    Requirement(
        "framing.fields",
        Level.SHOULD,
        "Only `data`, `id`, `event`, `retry` and comment lines",
        why="An unknown field is dropped by every client: what was meant by it never arrives.",
        source="W",
    ),
    Requirement(
        "framing.event-name",
        Level.SHOULD,
        "An `event:` field, if sent, is `message` or the event's type",
        why="A named event does not reach onmessage: browsers' clients never see it.",
        source="W, ours",
    ),
    Requirement(
        "events.schema",
        Level.MUST,
        "Each event of a known type has its fields: token.content string, done.runId string",
        why="Clients read token.content and done.runId without asking; a missing one breaks them.",
        source="api",
    ),
    Requirement(
        "events.type",
        Level.MUST,
        "Each event has a string `type`",
        why="The type decides what a client does with an event; without it there is nothing to do.",
        source="api",
    ),
    Requirement(
        "events.error-detail",
        Level.SHOULD,
        "An `error` event says what failed (a code or a message), without a stack trace",
        why="A user told only that something failed can do nothing; one shown a stack trace knows too much.",
        source="ours",
        needs="failing action",
    ),
    Requirement(
        "events.strict-json",
        Level.SHOULD,
        "No NaN or Infinity, no duplicate keys",
        why="NaN and repeated keys are read in different ways by different clients, or not at all.",
        source="RFC 8259",
    ),
    Requirement(
        "events.unknown-types",
        Level.INFO,
        "Types beyond the four are listed",
        why="New types are allowed; a client's author wants to know which there are.",
        source="reading 6",
    ),
    Requirement(
        "ids.present",
        Level.MUST,
        "Each event has an id of the form `<ms>-<seq>`",
        why="An event without an id is one that no client can resume after.",
        source="api",
    ),
    Requirement(
        "ids.unique",
        Level.MUST,
        "No id comes twice in a run",
        why="A client that keeps what it saw by id drops the second event of the same one.",
        source="reading 8",
    ),
    Requirement(
        "ids.increasing",
        Level.MUST,
        "Ids strictly increase, as pairs of numbers",
        why="Clients and gateways order and skip by id; compared as text, seq 10 comes before 9.",
        source="reading 8",
    ),
    Requirement(
        "ids.clock",
        Level.SHOULD,
        "The ms part is near the wall clock",
        why="The milliseconds are used to measure delay and to expire; off by hours they mislead.",
        source="api",
    ),
    Requirement(
        "terminal.no-tokens",
        Level.MUST,
        "A run that makes no token still ends with its terminal event",
        why="Code that ends a run after its last token forgets the run that has none.",
        source="api",
        needs="silent action",
    ),
    Requirement(
        "terminal.failure",
        Level.MUST,
        "A failing action ends with `error`, not with a bare close or `done`",
        why="A failure told as success, or by hanging up, is acted on as if the work were done.",
        source="api",
        needs="failing action",
    ),
    Requirement(
        "terminal.always",
        Level.MUST,
        "No stream ends without it",
        why="Without a terminal event a client waits, times out and retries a run that is over.",
        source="api",
    ),
    Requirement(
        "terminal.exactly-one",
        Level.MUST,
        "A run's stream holds exactly one terminal event",
        why="Two ends of one run charge twice, show both, or end the retry of the first.",
        source="api",
    ),
    Requirement(
        "terminal.last",
        Level.MUST,
        "Nothing but comments follows it",
        why="What follows the end is lost on clients that stopped reading, and confuses those that did not.",
        source="api",
    ),
    Requirement(
        "terminal.closes",
        Level.MUST,
        "The server ends the stream within the time allowed after it",
        why="A stream left open holds a connection, a worker and a client's spinner.",
        source="api",
    ),
    Requirement(
        "terminal.cancelled",
        Level.MUST,
        "A cancelled run ends with one `cancelled`",
        why="Who cancelled a run must see that it was, and not an error or a success.",
        source="api",
        needs="cancel action or endpoint",
    ),
    Requirement(
        "liveness.heartbeat-inert",
        Level.MUST,
        "A heartbeat carries no id and no data",
        why="A heartbeat with an id moves the point of resume; one with data is an event of nothing.",
        source="W",
        needs="quiet action",
    ),
    Requirement(
        "liveness.first-event",
        Level.SHOULD,
        "Head and first event come within the budgets",
        why="Users and gateways give up on a stream that does not begin.",
        source="ours",
    ),
    Requirement(
        "liveness.heartbeat",
        Level.SHOULD,
        "Silence longer than the budget carries a comment",
        why="Idle connections are cut by proxies, and a client cannot tell a slow run from a dead one.",
        source="W",
        needs="quiet action",
    ),
    Requirement(
        "liveness.heartbeat-interval",
        Level.INFO,
        "How often a silent stream carries a comment",
        why="Proxies and clients set their idle time-outs by it.",
        source="W",
        needs="quiet action",
    ),
    Requirement(
        "liveness.retry-hint",
        Level.INFO,
        "Which reconnection time the stream asks for",
        why="It decides how hard all clients knock after an outage.",
        source="W",
    ),
    Requirement(
        "auth.missing",
        Level.MUST,
        "No token: 401, and no run",
        why="Anybody could run actions in somebody's name.",
        source="api",
    ),
    Requirement(
        "auth.bad",
        Level.MUST,
        "A garbage token: 401 (403 tolerated), and no run",
        why="A check that a token is there is no check that it is good.",
        source="api",
    ),
    Requirement(
        "auth.challenge",
        Level.SHOULD,
        "A 401 carries WWW-Authenticate",
        why="A generic client learns from it how to authenticate.",
        source="RFC 9110",
    ),
    Requirement(
        "auth.before-key",
        Level.MUST,
        "Without a valid token a known key tells nothing (same answer as an unknown one)",
        why="Answers that differ tell a stranger which keys, and so which runs, exist.",
        source="ours",
    ),
    Requirement(
        "auth.org-mismatch",
        Level.MUST,
        "A foreign organizationId is rejected before any run event",
        why="A run in a foreign organization reads and writes what is not the caller's.",
        source="api",
    ),
    Requirement(
        "auth.org-before-conflict",
        Level.MUST,
        "A foreign org is told about the org, not about a conflict",
        why="Being told of a conflict tells a stranger that the key exists.",
        source="reading 7",
    ),
    Requirement(
        "auth.key-scope",
        Level.MUST,
        "The same key in two organizations is two runs, and neither sees the other's events",
        why="A key chosen alike by two customers would show one the other's run.",
        source="reading 7",
        needs="second principal",
    ),
    Requirement(
        "auth.query-token",
        Level.SHOULD,
        "A token in the query string is refused",
        why="Query strings end up in logs, and tokens with them.",
        source="RFC 6750",
    ),
    Requirement(
        "security.no-secrets",
        Level.MUST,
        "No answer echoes the token",
        why="An echoed token ends up in logs, error trackers and screenshots.",
        source="ours",
    ),
    Requirement(
        "security.cors",
        Level.MUST,
        "No wildcard CORS with credentials",
        why="Any web page could act with the user's credentials.",
        source="Fetch",
    ),
    Requirement(
        "security.nosniff",
        Level.SHOULD,
        "X-Content-Type-Options: nosniff, errors too",
        why="A browser that guesses a type can be made to run text as a script.",
        source="ours",
    ),
    Requirement(
        "input.not-json",
        Level.MUST,
        "Malformed JSON, an array or an empty body is a 4xx",
        why="What cannot be read must not be run, and is the client's mistake, not the server's.",
        source="api",
    ),
    Requirement(
        "input.required",
        Level.MUST,
        "Each missing required field is a 4xx",
        why="A run without an organization, a session or an action belongs to nobody and does nothing known.",
        source="api",
    ),
    Requirement(
        "input.required-named",
        Level.SHOULD,
        "That 4xx names the field",
        why="A rejection that does not say what is missing costs its reader an hour.",
        source="ours",
    ),
    Requirement(
        "input.types",
        Level.MUST,
        "A field of the wrong type is a 4xx",
        why="A value taken for what it is not fails later, deeper, and worse.",
        source="api",
    ),
    Requirement(
        "input.source",
        Level.MUST,
        "A `source` outside the three is a 4xx",
        why="An unknown source is a typing error that statistics would swallow.",
        source="api",
    ),
    Requirement(
        "input.timezone",
        Level.SHOULD,
        "A `userTimezone` that is no IANA zone is a 4xx",
        why="A run in a zone that is none computes wrong dates.",
        source="api",
    ),
    Requirement(
        "input.hostile",
        Level.MUST,
        "Deep nesting, lone surrogates, NUL, 1e400, huge numbers: never a 5xx, never a hang",
        why="A body that crashes a parser takes other users' runs down with it.",
        source="ours",
    ),
    Requirement(
        "input.media-type",
        Level.SHOULD,
        "Another Content-Type is a 415 or 400",
        why="A form post from a foreign page must not start a run.",
        source="RFC 9110",
    ),
    Requirement(
        "input.too-large",
        Level.SHOULD,
        "An oversized body is a 413 or 400",
        why="Without a limit one request fills the memory.",
        source="RFC 9110",
    ),
    Requirement(
        "input.error-shape",
        Level.SHOULD,
        "Every rejection has one shape",
        why="Clients handle one shape of rejection; the second one surprises them.",
        source="RFC 9457",
    ),
    Requirement(
        "run-id.constant",
        Level.MUST,
        "`runId` is the same on every connection to a run",
        why="A client that reconnects looks the run up by its id; another id is another run.",
        source="api",
    ),
    Requirement(
        "run-id.echoed",
        Level.MUST,
        "A client's `runId`, sent with a fresh key or none, is the terminal event's `runId`",
        why="The client chose the id to find the run again.",
        source="api",
    ),
    Requirement(
        "run-id.key-wins",
        Level.MUST,
        "With both, the key alone decides: new key + old runId is a new run; old key + new runId is judged by the key",
        why="Two names for one thing need a rule which one counts, or retries go astray.",
        source="api",
    ),
    Requirement(
        "run-id.resumes",
        Level.SHOULD,
        "Without a key, same runId + same body resumes",
        why="A client without keys has only the runId to retry by.",
        source="reading 5",
    ),
    Requirement(
        "run-id.without-key",
        Level.INFO,
        "Whether a runId without a key does the key's work",
        why="It tells clients whether a runId makes a retry safe.",
        source="reading 5",
    ),
    Requirement(
        "key.none-independent",
        Level.MUST,
        "Without key and runId, equal bodies are independent runs",
        why="Who sends no key asks for a new run each time.",
        source="api",
    ),
    Requirement(
        "key.opaque",
        Level.SHOULD,
        "A UUID, a quoted structured-field string and a plain token all work as keys",
        why="A key is the client's choice; a server that wants one form breaks the others.",
        source="api, D",
    ),
    Requirement(
        "key.bad",
        Level.SHOULD,
        "An empty, oversized or control-character key is a 400",
        why="A key that cannot be kept must be refused, not cut short: two long keys could become one.",
        source="D",
    ),
    Requirement(
        "key.inert",
        Level.MUST,
        "Injection in the key (CRLF, markup, SQL, path) changes nothing and is never echoed raw",
        why="A key goes into headers, logs and queries; there it must be nothing but a text.",
        source="ours",
    ),
    Requirement(
        "key.other-route",
        Level.INFO,
        "Whether a key used on the other route is the same key",
        why="Who uses both routes must know whether to share keys.",
        source="D",
        needs="second route",
    ),
    Requirement(
        "key.body-canonical",
        Level.INFO,
        "Whether key order and white space make another body",
        why="A retry through another library orders its keys otherwise: is that another body?",
        source="reading 4",
    ),
    Requirement(
        "resume.no-new-run",
        Level.MUST,
        "A retry never executes the action again",
        why="A second execution sends the mail, books the flight and bills the tokens twice.",
        source="api",
    ),
    Requirement(
        "resume.replay",
        Level.MUST,
        "A retry after completion brings the same (id, data) sequence",
        why="A client that lost the answer gets it back only if the replay is the same.",
        source="api",
    ),
    Requirement(
        "resume.failure-replayed",
        Level.MUST,
        "A failed run's retry replays its failure",
        why="A retry that quietly tries again hides the failure and repeats its effects.",
        source="api, D",
        needs="failing action",
    ),
    Requirement(
        "resume.joins",
        Level.MUST,
        "A retry while the run is in flight joins it: same ids, same data, same terminal event",
        why="A client that reconnects in mid-run must see the run it started, not a part or another.",
        source="api",
        needs="long action",
    ),
    Requirement(
        "resume.first-reader-kept",
        Level.MUST,
        "A second connection to a run leaves the first one whole",
        why="Opening the same run in a second tab must not take it from the first.",
        source="ours",
        needs="long action",
    ),
    Requirement(
        "resume.survives-disconnect",
        Level.MUST,
        "A cut (FIN, RST, half-close, before the head) leaves the run resumable with its own outcome",
        why="Phones lose their connection; the work must not be lost with it.",
        source="reading 3",
        needs="long action",
    ),
    Requirement(
        "resume.terminal-race",
        Level.MUST,
        "A retry that races the terminal event loses nothing",
        why="Between reading the past and subscribing to the future the end can slip through.",
        source="ours",
    ),
    Requirement(
        "resume.every-cut",
        Level.MUST,
        "Cut after event k and resumed, what was seen before and after together is the canonical sequence, for every k",
        why="A frame lost or doubled at the point of resume is a wrong answer that looks right.",
        source="api, reading 2",
        needs="long action",
    ),
    Requirement(
        "resume.last-event-id",
        Level.SHOULD,
        "`Last-Event-ID: k` brings exactly the events after k (MUST where the target declares it)",
        why="It is how every event-stream client resumes by itself.",
        source="W",
    ),
    Requirement(
        "resume.bad-last-event-id",
        Level.MUST,
        "A malformed, foreign or future Last-Event-ID: no hang, no 5xx, no forged event",
        why="Clients come back with ids of yesterday, of other runs, of other servers.",
        source="ours",
    ),
    Requirement(
        "resume.start",
        Level.INFO,
        "Where a resume without Last-Event-ID starts: replay or tail",
        why="A client must know whether to show what comes again.",
        source="reading 2",
    ),
    Requirement(
        "conflict.rejected",
        Level.MUST,
        "Same key, different body is rejected with 409 (three forms, reading 1)",
        why="The same key with another body is a bug in the client; running either body hides it.",
        source="api",
    ),
    Requirement(
        "conflict.in-flight",
        Level.MUST,
        "The same while the first run is still going",
        why="The race of two different requests happens while the first is running.",
        source="api",
        needs="long action",
    ),
    Requirement(
        "conflict.after-completion",
        Level.MUST,
        "The same after it ended",
        why="Keys are reused by mistake hours later, too.",
        source="api",
    ),
    Requirement(
        "conflict.any-field",
        Level.MUST,
        "A change in any single field, nested ones too, is a conflict",
        why="A fingerprint of some fields takes a different request for a retry.",
        source="api",
    ),
    Requirement(
        "conflict.original-untouched",
        Level.MUST,
        "The first run goes on, whole, and its key still resumes it",
        why="Somebody's mistake with a key must not kill the run that owns it.",
        source="ours",
        needs="long action",
    ),
    Requirement(
        "conflict.starts-nothing",
        Level.MUST,
        "The rejected request starts no run",
        why="A rejected request that runs all the same is worse than one that is accepted.",
        source="ours",
    ),
    Requirement(
        "conflict.leaks-nothing",
        Level.MUST,
        "The rejection holds nothing of the first run's body or events",
        why="Who guesses a key must not be shown what was asked under it.",
        source="D",
    ),
    Requirement(
        "conflict.error-event",
        Level.SHOULD,
        "The rejection is an error event",
        why="The documentation says so, and clients of the stream wait for an event.",
        source="api",
    ),
    Requirement(
        "conflict.form",
        Level.INFO,
        "Which of the three forms the 409 has",
        why="Clients must know which of the three to look for.",
        source="reading 1",
    ),
    Requirement(
        "race.same-body",
        Level.MUST,
        "N simultaneous equal posts: one execution, N identical streams",
        why="A double click, or a proxy's retry, arrives before the first one is stored.",
        source="api",
    ),
    Requirement(
        "race.different-bodies",
        Level.MUST,
        "N simultaneous different posts: exactly one winner, the rest 409",
        why="Check-then-act lets two through under load, and never in a test that goes one by one.",
        source="api",
    ),
    Requirement(
        "race.no-crosstalk",
        Level.MUST,
        "Interleaved runs never show each other's events",
        why="One user's tokens in another's stream is the worst thing that can happen.",
        source="ours",
        needs="echo action",
    ),
    Requirement(
        "race.close-one",
        Level.MUST,
        "Closing one stream leaves the others whole",
        why="A shared producer that dies with its first reader takes the others along.",
        source="ours",
    ),
    Requirement(
        "race.slow-reader",
        Level.SHOULD,
        "A stalled reader does not slow the others",
        why="A laptop that was closed must not stop everybody else's stream.",
        source="ours",
        needs="long action",
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
