"""conflict: reusing a key with a different body is rejected with 409 and has no other effect.

Status 409 is a rejection, whatever its body. So is status 200 with a stream whose only event is an ``error`` with the
code 409 (harness.profiles.workflow_actions.conflict). The documentation says "409 error event", so a rejection should
be an event.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from harness.contract.decoding.decoded_frame import DecodedFrame
from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, info, passed
from harness.contract.rules.leaks import contains, texts
from harness.contract.rules.replays import require_replays
from harness.contract.rules.rule import (
    Level,
    Need,
    combine,
    quoted,
    require_accepted,
    require_terminal,
    rule,
)
from harness.contract.rules.sequences import first_difference
from harness.profiles.capability import Capability
from harness.protocol.strict_json import loads


def rejection_form(response: Exchange, run: Exchange | None = None) -> str | None:
    """Which form of a 409 the response to a used key has; None if it is not a 409.

    run: a run of the same action with a different key. If it failed with the code 409 itself, a stream of that form
    is not evidence of a rejection.
    """
    if response.status is not None and response.status == response.profile.conflict_status:
        return f"status {response.status} with {_content_form(response)}"
    if response.status == 200 and response.has_conflict_event and not (run and run.has_conflict_event):
        return "an error event with the code 409"
    return None


def _content_form(response: Exchange) -> str:
    if response.events:
        outcomes = [event.event.outcome if event.event else None for event in response.events]
        return "an error event" if outcomes == ["error"] else "a stream that is not one error event"
    if not response.body:
        return "an empty body"
    return "a JSON body" if _is_json(response.body) else "a body that is neither JSON nor an event"


def _is_json(body: bytes) -> bool:
    try:
        loads(body.decode("utf-8"))
    except ValueError:
        return False
    return True


def _is_error_event(form: str) -> bool:
    return form.endswith("with an error event") or form.startswith("an error event")


def _is_declared_form(form: str, expect: Expectations) -> bool:
    if expect.conflict == "http-409":
        return form.startswith("status 409")
    if expect.conflict == "event":
        return _is_error_event(form)
    return True


def _is_rejected(response: Exchange, run: Exchange) -> bool:
    """Whether a request was rejected, with 409 or with a different 4xx. 429 is not one: it is too many requests."""
    status = response.status or 0
    return rejection_form(response, run) is not None or (400 <= status < 500 and status not in {408, 429})


def _require_rejection(response: Exchange, run: Exchange) -> RuleResult | None:
    """None if the different body was rejected; otherwise an inconclusive result for rules about the rejection."""
    if _is_rejected(response, run):
        return None
    return inconclusive(
        f"the different body was not rejected (see conflict.rejected): {response.describe()}",
        Location(response),
    )


def is_conflict(response: Exchange, original: Exchange, situation: str, expect: Expectations) -> RuleResult:
    """Checks that `response`, to the key of `original` with a different body, is a 409."""
    if problem := require_accepted(original):
        return problem
    form = rejection_form(response, original)
    places = (Location(original), Location(response, response.first_event))
    if form is not None and _is_declared_form(form, expect):
        return passed(f"rejected ({form})")
    if form is not None:
        return failed(
            f"{situation} is rejected, but in the wrong form ({form}): the target declares {expect.conflict}",
            *places,
        )
    if response.status == 422:
        return failed(
            f"{situation} got 422, as draft-ietf-httpapi-idempotency-key-header recommends; this "
            "API documents 409",
            *places,
        )
    if response.status == 200 and response.events and _is_run_of(response, original):
        return failed(f"{situation} returned the first body's run", *places)
    if response.status == 200 and response.has_conflict_event and response.run_id is None:
        return inconclusive(
            "the action's own runs fail with an error of code 409, so such a stream may be a rejection or "
            "a failed run",
            *places,
        )
    return failed(f"{situation} got {response.describe()}, not a 409", *places)


def _is_run_of(response: Exchange, original: Exchange) -> bool:
    return (response.run_id is not None and response.run_id == original.run_id) or (
        response.sequence == original.sequence
    )


@rule(
    "conflict.rejected",
    Level.MUST,
    "Same key, different body is rejected with 409 (status 409, or an error event with the code 409; reading 1)",
    why="Reusing a key with a different body is a client bug; running either body hides it.",
    fix=(
        "Store a fingerprint of the body with the key, compare it on each request, and answer 409 if it "
        "differs."
    ),
    source="api",
    promise=(Capability.KEY_CONFLICT,),
)
def rejected(conflicts: Sequence[tuple[Exchange, Exchange]], *, expect: Expectations) -> RuleResult:
    """`conflicts` are pairs of a run and the response to a different body with its key.

    One 409 is enough here: conflict.in-flight and conflict.after-completion decide about each moment.
    """
    results = [
        is_conflict(conflicting, original, "the same key with a different body", expect)
        for original, conflicting in conflicts
    ]
    return next((result for result in results if result.verdict is Verdict.PASS), None) or combine(
        results, ""
    )


def _was_in_flight(original: Exchange, conflicting: Exchange) -> bool:
    """Whether `original` was still running when `conflicting` was sent."""
    over_ns = original.over.arrival_ns if original.over else original.timing.ended_ns
    return conflicting.timing.sent_ns is not None and conflicting.timing.sent_ns < over_ns


def _met_in_flight(original: Exchange, conflicting: Exchange) -> bool:
    """Whether `conflicting` was answered before `original` ended, so the server judged it in flight."""
    over_ns = original.over.arrival_ns if original.over else original.timing.ended_ns
    return conflicting.head_ns is not None and conflicting.head_ns < over_ns


@rule(
    "conflict.in-flight",
    Level.MUST,
    "Same key, different body is rejected while the first run is in flight",
    why="Different requests with one key collide while the first is running.",
    fix="Store the body's fingerprint when the run starts, not when it ends, and compare it on each request.",
    source="api",
    promise=(Capability.KEY_CONFLICT,),
    needs=Need.LONG_ACTION,
)
def in_flight(original: Exchange, *conflicting: Exchange, expect: Expectations) -> RuleResult:
    """Each of `conflicting` was sent while `original` was being read; those that came after its end prove nothing."""
    results = [_in_flight(original, response, expect) for response in conflicting]
    sent_in_flight = [result for result in results if result.verdict is not Verdict.INCONCLUSIVE]
    if len(sent_in_flight) < 2:
        return (sent_in_flight or results or [inconclusive("no different body was sent")])[0]
    return combine(
        sent_in_flight, f"{len(sent_in_flight)} different bodies at different moments were rejected"
    )


def _in_flight(original: Exchange, conflicting: Exchange, expect: Expectations) -> RuleResult:
    if problem := require_accepted(original):
        return problem
    if not _was_in_flight(original, conflicting):
        return inconclusive("the first run ended before the different body could be sent", Location(original))
    result = is_conflict(conflicting, original, "a different body while the first run was in flight", expect)
    if result.verdict is Verdict.PASS and not _met_in_flight(original, conflicting):
        return inconclusive("the first run ended before the different body was answered", Location(original))
    return result


@rule(
    "conflict.after-completion",
    Level.MUST,
    "Same key, different body is rejected after the first run has ended",
    why="Keys are also reused by mistake hours later.",
    fix="Keep the body's fingerprint as long as the key, and compare it after the run's end too.",
    source="api",
    promise=(Capability.KEY_CONFLICT,),
)
def after_completion(original: Exchange, conflicting: Exchange, *, expect: Expectations) -> RuleResult:
    if problem := require_terminal(original):
        return problem
    return is_conflict(conflicting, original, "a different body after the first run had ended", expect)


@rule(
    "conflict.any-field",
    Level.MUST,
    "A change in any single field, nested ones too, is a conflict",
    why="A fingerprint over only some fields mistakes a different request for a retry.",
    fix="Compute the fingerprint over the whole body, nested values included, not over selected fields.",
    source="api",
    promise=(Capability.KEY_CONFLICT,),
)
def any_field(original: Exchange, varied: Mapping[str, Exchange], *, expect: Expectations) -> RuleResult:
    """`varied` maps the name of the one field that differs to the response to that body."""
    return combine(
        [
            is_conflict(
                response,
                original,
                f"the same key with a different {name}{_refused_value(response, name)}",
                expect,
            )
            for name, response in varied.items()
        ],
        "a change in each of these is a conflict: " + ", ".join(varied),
    )


@rule(
    "conflict.original-untouched",
    Level.MUST,
    "The first run continues to its end, and its key still resumes it",
    why="A mistake with a key must not kill the run that owns it.",
    fix="Reject the request before you change the stored run; do not cancel, overwrite or delete it.",
    source="ours",
    promise=(Capability.KEY_CONFLICT,),
    needs=Need.LONG_ACTION,
)
def original_untouched(
    control: tuple[Exchange, Exchange],
    original: Exchange,
    conflicting: Exchange,
    retry: Exchange,
    sent_in_flight: bool = False,
) -> RuleResult:
    """`control` is a run of the same action that nothing disturbs, and its retry.

    sent_in_flight: the conflict was sent while `original` was being read; the server may have met it after its end.
    """
    if problem := require_accepted(original) or _require_rejection(conflicting, original):
        return problem
    places = (Location(original), Location(conflicting), Location(retry))
    if original.outcome != "done":
        if not _was_in_flight(original, conflicting):
            return inconclusive(
                f"the first run had ended before the conflict: {original.describe()}", *places
            )
        if control[0].outcome != "done":
            return inconclusive(
                f"a run without a conflict does not end with done either: {control[0].describe()}", *places
            )
        return failed(f"the first run did not end with done after a conflict: {original.describe()}", *places)
    if problem := require_replays(control):
        return problem
    if difference := first_difference(original.sequence, retry.sequence):
        reason = difference if retry.started_run else retry.describe()
        return failed(f"after the conflict the first body no longer resumes its run: {reason}", *places)
    if sent_in_flight and not _met_in_flight(original, conflicting):
        return inconclusive("the first run ended before the different body was answered", *places)
    return passed("the first run continued to its end, and its key still resumes it")


@rule(
    "conflict.starts-nothing",
    Level.MUST,
    "The rejected request starts no run",
    why="A rejected request that runs anyway is worse than an accepted one.",
    fix="Compare key and body before you start a run, in the same step that stores the key.",
    source="ours",
    promise=(Capability.KEY_CONFLICT,),
)
def starts_nothing(
    control: tuple[Exchange, Exchange],
    original: Exchange,
    conflicting: Exchange,
    later: Exchange,
    again: Exchange,
) -> RuleResult:
    """After the conflict, `later` is the response to the first body sent again, `again` to the conflicting one.

    `control` is a run that nothing disturbs, and its retry.
    """
    if problem := require_terminal(original) or _require_rejection(conflicting, original):
        return problem
    for response in (conflicting, again):
        if run_event := _run_event(response):
            return failed(
                f"the rejection contains an event of a run: {response.describe()}",
                Location(response, run_event),
            )
    if again.started_run and not _is_rejected(again, original):
        return failed(
            f"the rejected body, sent again, returns a run: {again.describe()}",
            Location(conflicting),
            Location(again),
        )
    if problem := require_replays(control):
        return problem
    foreign = [event for event in later.events if event.identity not in original.sequence]
    if later.run_id is not None and later.run_id != original.run_id and foreign:
        return failed(
            f"after the conflict the key returns a different run: runId {quoted(later.run_id)} instead of "
            f"{quoted(original.run_id or '')}",
            Location(original),
            Location(later),
        )
    if later.started_run and foreign:
        return failed(
            "after the conflict the key returns events that its run did not have", Location(later, foreign[0])
        )
    return passed("the rejected request started no run")


def _run_event(response: Exchange) -> DecodedFrame | None:
    """The first event of a run in a response with status 409."""
    if response.status != response.profile.conflict_status:
        return None
    return next(
        (
            event
            for event in response.events
            if event.event and (event.event.content or event.event.outcome not in {None, "error"})
        ),
        None,
    )


def _refused_value(response: Exchange, name: str) -> str:
    """The value of the body's field `name`, if the server may have rejected the value itself and not the key."""
    if response.status is None or response.status == 409 or not 400 <= response.status < 500:
        return ""
    try:
        body = response.request.json()
    except ValueError:  # recorded evidence may contain a truncated body
        return ""
    value = body.get(name) if isinstance(body, dict) else None
    return f" ({json.dumps(value)})" if isinstance(value, str) else ""


@rule(
    "conflict.leaks-nothing",
    Level.MUST,
    "The rejection contains nothing of the first run's body or events",
    why="Guessing a key must not reveal the request that it belongs to.",
    fix="Use a fixed text for the rejection, and put nothing of the stored body or its events into it.",
    source="D",
    promise=(Capability.KEY_CONFLICT,),
)
def leaks_nothing(original: Exchange, conflicting: Exchange, secret: str) -> RuleResult:
    """`secret` is a string that only the first body contains."""
    if problem := require_accepted(original):
        return problem
    unrejected = _require_rejection(conflicting, original)
    if unrejected is not None and (conflicting.status or 0) < 500:
        return unrejected
    if conflicting.holds(secret.encode()):
        return failed("the rejection contains a value of the first request's body", Location(conflicting))
    contents = list(texts(conflicting))
    if original.run_id and contains(contents, original.run_id, conflicting):
        return failed("the rejection contains the first run's runId", Location(conflicting))
    repeated = [event for event in conflicting.events if event.identity in original.sequence]
    if repeated:
        return failed("the rejection contains an event of the first run", Location(conflicting, repeated[0]))
    ids = [event.id for event in original.tokens if event.id]
    leaked = next((event_id for event_id in ids if contains(contents, event_id, conflicting)), None)
    if leaked is not None:
        return failed(
            f"the rejection contains an event of the first run (id {leaked})",
            Location(conflicting),
        )
    return unrejected or passed("the rejection contains nothing of the first run")


@rule(
    "conflict.error-event",
    Level.SHOULD,
    "The rejection is an error event (any 409 will do if the target declares `http-409`)",
    why="The documentation says so, and stream clients wait for an event.",
    fix="Send the rejection as a stream with one `error` event whose `code` or `status` is 409.",
    source="api, reading 1",
    promise=(Capability.KEY_CONFLICT,),
)
def error_event(original: Exchange, conflicting: Exchange, *, expect: Expectations) -> RuleResult:
    if problem := require_accepted(original):
        return problem
    form = rejection_form(conflicting, original)
    if form is None:
        return inconclusive(f"no 409 to check: {conflicting.describe()}", Location(conflicting))
    if _is_error_event(form):
        return passed(f"the rejection is {form}")
    if expect.conflict == "http-409":
        return passed(f"the rejection is {form}, as the target declares (http-409)")
    return failed(f"the rejection is {form}, not an error event", Location(conflicting))


@rule(
    "conflict.form",
    Level.INFO,
    "Which form the 409 has",
    why="Clients must know which form to look for.",
    fix="Use one form for every conflict, and document it.",
    source="reading 1",
    promise=(Capability.KEY_CONFLICT,),
)
def form(original: Exchange, conflicting: Exchange) -> RuleResult:
    if problem := require_accepted(original):
        return problem
    observed = rejection_form(conflicting, original)
    if observed is None:
        return inconclusive(f"no 409 to check: {conflicting.describe()}", Location(conflicting))
    return info(f"a reused key with a different body gets {observed}")


def rejections(responses: Sequence[Exchange]) -> list[Exchange]:
    """The responses that are a 409 in one of its forms."""
    return [response for response in responses if rejection_form(response) is not None]
