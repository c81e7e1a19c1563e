"""key: which values work as an Idempotency-Key, and what a key must not do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID, uuid4

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import (
    Location,
    RuleResult,
    Verdict,
    failed,
    inconclusive,
    info,
    not_applicable,
    passed,
)
from harness.contract.rules.conflict import rejection_form
from harness.contract.rules.replays import require_resume
from harness.contract.rules.rule import (
    Level,
    Need,
    combine,
    hung_among_slow,
    is_same_run,
    quoted,
    require_accepted,
    require_terminal,
    rule,
)
from harness.contract.rules.sequences import first_difference
from harness.formatting import counted
from harness.profiles.capability import Capability

_SHOWN = 60  # characters of a key
_MARKER = re.compile(rb"marker-[0-9a-f]{16}")
_UUID = re.compile(r"(?:urn:)?(?:uuid:)?\{?((?:[0-9a-f]-?){31}[0-9a-f])\}?", re.IGNORECASE)


@rule(
    "key.none-independent",
    Level.MUST,
    "Without key and runId, equal bodies are independent runs",
    why="A client that sends no key expects a new run each time.",
    fix="Start a new run for each request without key and `runId`; do not derive a key from the body.",
    source="api",
    promise=(Capability.SERVER_RUN_ID,),
)
def none_independent(first: Exchange, second: Exchange) -> RuleResult:
    """Two requests with equal bodies, without key and runId."""
    for run in (first, second):
        if problem := require_terminal(run):
            return problem
    if first.run_id is None and second.run_id is None and not any(event.id for event in first.sequence):
        return inconclusive(
            "the streams have neither a run id nor event ids, so two runs with the same text look the same",
            Location(first),
            Location(second),
        )
    if is_same_run(first, second):
        return failed("two requests without a key got the same run", Location(first), Location(second))
    return passed("equal bodies without a key are two runs")


@rule(
    "key.distinct",
    Level.MUST,
    "Two keys that differ in any character are two runs, with the same body or a different one",
    why="If two clients' keys become one, the second client gets the first one's run, and its own never starts.",
    fix=(
        "Look the key up as it was received, byte by byte and in full length: do not cut, fold, trim, normalize, "
        "decode or collate it, and reject a key that you cannot store with 400."
    ),
    source="api, D",
    promise=(Capability.IDEMPOTENCY_KEY,),
)
def distinct(control: tuple[Exchange, Exchange], similar: Mapping[str, Sequence[Exchange]]) -> RuleResult:
    """`similar`: by what differs in their keys, the responses to requests with different keys, a run first.

    `control` is a run and its retry. Without runIds, each request may have a `new_marker` that its run echoes. A key
    that the server rejects proves nothing. If it rejects every key but UUIDs, its keys are UUIDs, and not text: the
    ways to write a UUID are one value (RFC 9562, 4), so they are not compared.
    """
    one_value: list[str] = []
    if _accepts_only_uuids([response for responses in similar.values() for response in responses]):
        different = {what: _different_uuids(responses) for what, responses in similar.items()}
        one_value = [what for what, responses in different.items() if len(responses) < len(similar[what])]
        similar = different
    if problem := require_terminal(control[0]):
        return problem
    if not is_same_run(*control):
        return inconclusive(
            "a retry with the same key does not return the same run (see resume.replay), so its keys may have no "
            "effect",
            Location(control[1]),
        )
    results = {what: _differ(control[0], responses) for what, responses in similar.items()}
    shared = {what: result for what, result in results.items() if result.verdict is Verdict.FAIL}
    if shared:
        first = next(iter(shared.values()))
        return failed(f"keys that differ only in {', '.join(shared)}: {first.detail}", *first.places)
    if problem := _shared_run(response for responses in similar.values() for response in responses):
        return problem
    accepted = [what for what, result in results.items() if result.verdict is Verdict.PASS]
    undecided = [result for result in results.values() if result.verdict is Verdict.INCONCLUSIVE]
    if undecided or not accepted:
        return undecided[0] if undecided else inconclusive("no pair of keys was accepted")
    rejected = [what for what in results if what not in accepted and what not in one_value]
    without = f"; not compared, as the server rejects such keys: {', '.join(rejected)}" if rejected else ""
    if one_value:
        without += f"; not compared, as the server accepts only UUIDs: {', '.join(one_value)}"
    return passed(f"keys are two runs that differ only in {', '.join(accepted)}{without}")


def _accepts_only_uuids(responses: Sequence[Exchange]) -> bool:
    """Whether a UUID got a run, keys of other forms were rejected or broke it, and none got a run or a conflict."""
    others = [response for response in responses if _uuid_of(response) is None]
    return (
        any(response.started_run for response in responses if _uuid_of(response) is not None)
        and any(response.status == 500 or _is_key_rejected(response) for response in others)
        and not any(response.started_run or rejection_form(response) is not None for response in others)
    )


def _uuid_of(response: Exchange) -> UUID | None:
    """The UUID that its key is, however it is written; None for any other text."""
    match = _UUID.fullmatch(response.request.header("idempotency-key") or "")
    return None if match is None else UUID(match[1])


def _different_uuids(responses: Sequence[Exchange]) -> list[Exchange]:
    """The responses without those whose key is the same UUID as an earlier one's."""
    first: dict[UUID | int, Exchange] = {}
    for number, response in enumerate(responses):
        first.setdefault(_uuid_of(response) or number, response)
    return list(first.values())


def _differ(control: Exchange, responses: Sequence[Exchange]) -> RuleResult:
    """Whether each of the accepted responses is the run of one key. Not applicable if fewer than two are accepted."""
    runs: list[Exchange] = []
    for response in responses:
        if rejection_form(response, control) is not None:
            places = map(Location, (*runs[:1], response))
            return failed(f"{_sent(response)} is new, but got {response.describe()}", *places)
        if _is_key_rejected(response):
            continue
        if problem := require_terminal(response):
            return problem
        problem = _is_of_another(response, control, runs)
        if problem is not None:
            return problem
        runs.append(response)
    return passed("two runs") if len(runs) > 1 else not_applicable("rejected")


def _is_of_another(response: Exchange, control: Exchange, runs: Sequence[Exchange]) -> RuleResult | None:
    """A failure if it is the run of another key, an inconclusive result if nothing tells, None if it is its own."""
    for other in runs:
        if _has_text_of(other, response):
            return failed(
                f"{_sent(response)} returned the run of {_sent(other)}: it has the text of that request",
                Location(other),
                Location(response),
            )
    if _has_own_text(response):
        return None
    if response.run_id is None and response.sequence == control.sequence:
        return inconclusive("without a runId, runs with equal ids and data look the same", Location(response))
    for other in (control, *runs):
        if is_same_run(other, response) and response.run_id is None and response.outcome != "done":
            return inconclusive(
                f"{response.label} ended with {response.outcome} without a runId, and runs of the same "
                "millisecond may have equal ids and data",
                Location(response),
            )
        if is_same_run(other, response):
            return failed(
                f"{_sent(response)} returned the run of {_sent(other)}", Location(other), Location(response)
            )
    return None


def new_marker() -> str:
    """A text for an echo action by which its run is known from others with equal ids."""
    return f"marker-{uuid4().hex[:16]}"


def _markers(response: Exchange) -> frozenset[bytes]:
    """The markers in its request."""
    return frozenset(_MARKER.findall(response.request.body))


def _has_own_text(response: Exchange) -> bool:
    """Whether its text shows that it is the run of that request."""
    return any(marker.decode() in response.text for marker in _markers(response))


def _has_text_of(other: Exchange, response: Exchange) -> bool:
    """Whether the text of a response is that of another request, and not its own."""
    foreign = _markers(other) - _markers(response)
    return not _has_own_text(response) and any(marker.decode() in response.text for marker in foreign)


def _is_key_rejected(response: Exchange) -> bool:
    status = response.status or 0
    return 400 <= status < 500 and status not in {408, 429}


def _shared_run(responses: Iterable[Exchange]) -> RuleResult | None:
    """A failure if two of these runs, all with different keys, have one runId."""
    by_run_id: dict[str, Exchange] = {}
    for response in responses:
        if response.run_id is None:
            continue
        other = by_run_id.setdefault(response.run_id, response)
        if other is not response:
            return failed(
                f"{_sent(response)} returned the run of {_sent(other)}", Location(other), Location(response)
            )
    return None


def _sent(response: Exchange) -> str:
    """Its key in a sentence: shortened in the middle, in ASCII, so that keys that look alike differ in print."""
    key = response.request.header("idempotency-key") or ""
    return f"the key {key if len(key) <= _SHOWN else f'{key[:20]}...{key[-20:]}'!a}"


@rule(
    "key.quotes",
    Level.SHOULD,
    "A key in quotes and the same text without them are two keys",
    why="A key is opaque. If the quotes are dropped, a client that uses both texts gets one run.",
    fix="Look the key up as it was received, with its quotes; or accept only one of the two forms.",
    source="ours",
    promise=(Capability.IDEMPOTENCY_KEY,),
)
def quotes(control: tuple[Exchange, Exchange], responses: Sequence[Exchange]) -> RuleResult:
    """`responses`: to a key in quotes, and to the same text without the quotes. `control` is a run and its retry."""
    return distinct.function(control, {"quotes": responses})


@rule(
    "key.opaque",
    Level.SHOULD,
    "A UUID, a quoted structured-field string and a plain token all work as keys",
    why="The client chooses the key; a server that accepts only one form breaks other clients.",
    fix="Treat the key as text of any form; do not parse it, for example as a UUID.",
    source="api, D",
    promise=(Capability.IDEMPOTENCY_KEY,),
)
def opaque(control: tuple[Exchange, Exchange], pairs: Mapping[str, tuple[Exchange, Exchange]]) -> RuleResult:
    """`pairs`: by the kind of key, a run with such a key and its retry. `control` is a run and its retry."""
    if problem := require_resume(*control):
        return problem
    originals = [*control, *(original for original, _ in pairs.values())]
    return combine(
        [hung_among_slow(pair[0], originals) or _works(kind, *pair) for kind, pair in pairs.items()],
        "each works as a key: " + ", ".join(pairs),
    )


def _works(kind: str, original: Exchange, retry: Exchange) -> RuleResult:
    if not original.started_run:
        return failed(f"{kind} is not accepted as a key: {original.describe()}", Location(original))
    if difference := first_difference(original.sequence, retry.sequence):
        return failed(
            f"{kind} does not work as a key: the retry differs: {difference}",
            Location(original),
            Location(retry),
        )
    return passed(f"{kind} works as a key")


@rule(
    "key.bad",
    Level.SHOULD,
    "An empty, oversized or control-character key is a 400",
    why="A key that cannot be stored must be rejected, not truncated: two long keys could become one.",
    fix="Answer 400 to a key that is empty, contains control characters or is longer than you store.",
    source="D",
    promise=(Capability.IDEMPOTENCY_KEY,),
)
def bad(control: Exchange, responses: Mapping[str, Exchange]) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    return combine(
        [
            passed("got 400")
            if response.status == 400
            else failed(f"{kind} as key got {response.describe()}, not 400", Location(response))
            for kind, response in responses.items()
        ],
        "each got 400: " + ", ".join(responses),
    )


@rule(
    "key.inert",
    Level.MUST,
    "Injection in the key (CRLF, markup, SQL, path) has no effect and is never echoed raw",
    why="Keys end up in headers, logs and queries, where they must stay plain text.",
    fix="Pass the key to queries as a parameter, escape it in logs, and leave it out of responses.",
    source="ours",
    promise=(Capability.IDEMPOTENCY_KEY,),
)
def inert(control: Exchange, responses: Mapping[str, Exchange]) -> RuleResult:
    """`responses` by the injection sent as the key."""
    if problem := require_accepted(control):
        return problem
    return combine(
        [
            hung_among_slow(response, [control, *responses.values()]) or _is_inert(response)
            for response in responses.values()
        ],
        f"{counted(len(responses), 'injection')} had no effect",
    )


def _is_inert(response: Exchange) -> RuleResult:
    key = response.request.header("idempotency-key") or ""
    head = response.head
    if head is None or head.status >= 500 or response.ending is Ending.TIMED_OUT:
        return failed(f"the key {quoted(key)} broke the server: {response.describe()}", Location(response))
    if response.holds(key.encode()):
        return failed(f"the key {quoted(key)} is echoed raw", Location(response))
    if head.values("x-injected"):
        return failed(f"the key {quoted(key)} injected a header into the response", Location(response))
    return passed("inert")


@rule(
    "key.other-route",
    Level.INFO,
    "Whether a key used on the other route is the same key",
    why="A client of both routes must know whether they share keys.",
    fix="Document whether the two routes share keys.",
    source="D",
    promise=(Capability.IDEMPOTENCY_KEY,),
    needs=Need.SECOND_ROUTE,
)
def other_route(first: Exchange, other: Exchange) -> RuleResult:
    """`other` used the key of `first` on the other route."""
    if problem := require_terminal(first):
        return problem
    if rejection_form(other, first) is not None:
        return info("a key used on the other route is the same key: a conflict")
    if not other.started_run:
        return inconclusive(
            f"the other route did not accept the request: {other.describe()}", Location(other)
        )
    same = first.run_id is not None and first.run_id == other.run_id
    return info("a key used on the other route is " + ("the same key" if same else "a different key"))


@rule(
    "key.body-canonical",
    Level.INFO,
    "Whether key order and whitespace make a different body",
    why="A retry through a different JSON library may order keys differently.",
    fix="Document whether a retry must repeat the body's bytes or only its JSON value.",
    source="reading 4",
    promise=(Capability.IDEMPOTENCY_KEY, Capability.JSON_BODY),
)
def body_canonical(original: Exchange, reordered: Exchange, spaced: Exchange) -> RuleResult:
    """The same JSON value with the same key: with the members in a different order, and with different whitespace."""
    if problem := require_terminal(original):
        return problem

    results: list[str] = []
    for what, response in (("a different key order", reordered), ("different whitespace", spaced)):
        if rejection_form(response, original) is not None:
            results.append(f"{what} makes a different body")
        elif response.started_run and is_same_run(original, response):
            results.append(f"{what} makes the same body")
        else:
            return inconclusive(
                f"{what} is neither resumed nor a conflict: {response.describe()}",
                Location(original),
                Location(response),
            )
    return info("; ".join(results))
