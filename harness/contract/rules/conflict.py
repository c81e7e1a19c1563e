"""conflict: reusing a key with a different body is rejected with 409 and has no other effect.

Three forms satisfy the documentation's "409 error event": status 409 with a stream of one ``error`` event; status
409 with a JSON error body; status 200 with a stream whose only event is an ``error`` that contains 409.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, info, passed
from harness.contract.rules.rule import (
    Level,
    Need,
    combine,
    quoted,
    require_accepted,
    require_terminal,
    rule,
    was_accepted,
)
from harness.contract.rules.sequences import first_difference


def rejection_form(response: Exchange) -> str | None:
    """Which form of a 409 the response has; None if it is not a 409."""
    types = [event.event.type for event in response.events if event.event]
    only_error = len(response.events) == 1 and types == ["error"]
    if response.status == 409 and not response.events:
        return "status 409" + (" with a JSON body" if _is_json(response.body) else " without an error event")
    if response.status == 409 and only_error:
        return "status 409 with an error event"
    if response.status == 200 and response.is_rejection_event:
        return "an error event that contains 409"
    return None


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _is_declared_form(form: str, expect: Expectations) -> bool:
    if expect.conflict == "http-409":
        return form.startswith("status 409")
    if expect.conflict == "event":
        return "error event" in form and "without" not in form
    return True


def is_conflict(response: Exchange, original: Exchange, situation: str, expect: Expectations) -> RuleResult:
    """Checks that `response`, to the key of `original` with a different body, is a 409."""
    if problem := require_accepted(original):
        return problem
    form = rejection_form(response)
    places = (Location(original), Location(response, response.events[0] if response.events else None))
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
    if response.started_run and response.run_id is not None and response.run_id == original.run_id:
        return failed(f"{situation} returned the first body's run", *places)
    return failed(f"{situation} got {response.describe()}, not a 409", *places)


@rule(
    "conflict.rejected",
    Level.MUST,
    "Same key, different body is rejected with 409 (three forms, reading 1)",
    why="Reusing a key with a different body is a client bug; running either body hides it.",
    fix=(
        "Store a fingerprint of the body with the key, compare it on each request, and answer 409 if it "
        "differs."
    ),
    source="api",
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


@rule(
    "conflict.in-flight",
    Level.MUST,
    "Same key, different body is rejected while the first run is in flight",
    why="Different requests with one key collide while the first is running.",
    fix="Store the body's fingerprint when the run starts, not when it ends, and compare it on each request.",
    source="api",
    needs=Need.LONG_ACTION,
)
def in_flight(original: Exchange, conflicting: Exchange, *, expect: Expectations) -> RuleResult:
    if problem := require_accepted(original):
        return problem
    over_ns = original.terminals[0].arrival_ns if original.terminals else original.timing.ended_ns
    if conflicting.timing.sent_ns is None or conflicting.timing.sent_ns >= over_ns:
        return inconclusive("the first run ended before the different body could be sent", Location(original))
    return is_conflict(conflicting, original, "a different body while the first run was in flight", expect)


@rule(
    "conflict.after-completion",
    Level.MUST,
    "Same key, different body is rejected after the first run has ended",
    why="Keys are also reused by mistake hours later.",
    fix="Keep the body's fingerprint as long as the key, and compare it after the run's end too.",
    source="api",
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
    needs=Need.LONG_ACTION,
)
def original_untouched(original: Exchange, conflicting: Exchange, retry: Exchange) -> RuleResult:
    if problem := require_accepted(original):
        return problem
    places = (Location(original), Location(conflicting), Location(retry))
    if original.outcome != "done":
        return failed(f"the first run did not end with done after a conflict: {original.describe()}", *places)
    if difference := first_difference(original.sequence, retry.sequence):
        reason = difference if retry.started_run else retry.describe()
        return failed(f"after the conflict the first body no longer resumes its run: {reason}", *places)
    return passed("the first run continued to its end, and its key still resumes it")


@rule(
    "conflict.starts-nothing",
    Level.MUST,
    "The rejected request starts no run",
    why="A rejected request that runs anyway is worse than an accepted one.",
    fix="Compare key and body before you start a run, in the same step that stores the key.",
    source="ours",
)
def starts_nothing(original: Exchange, conflicting: Exchange, later: Exchange, again: Exchange) -> RuleResult:
    """After the conflict, `later` is the response to the first body sent again, `again` to the conflicting one."""
    if problem := require_terminal(original):
        return problem
    if rejection_form(conflicting) is not None and again.started_run and rejection_form(again) is None:
        return failed(
            f"the rejected body, sent again, returns a run: {again.describe()}",
            Location(conflicting),
            Location(again),
        )
    if conflicting.started_run and rejection_form(conflicting) is None:
        return failed(
            f"the conflicting request got a run's events: {conflicting.describe()}",
            Location(conflicting, conflicting.events[0]),
        )
    foreign = [event for event in later.events if event.identity not in original.sequence]
    if later.run_id is not None and later.run_id != original.run_id and foreign:
        return failed(
            f"after the conflict the key returns a different run: runId {quoted(later.run_id)} instead of "
            f"{quoted(original.run_id or '')}",
            Location(original),
            Location(later),
        )
    if foreign:
        return failed(
            "after the conflict the key returns events that its run did not have", Location(later, foreign[0])
        )
    return passed("the rejected request started no run")


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
)
def leaks_nothing(original: Exchange, conflicting: Exchange, secret: str) -> RuleResult:
    """`secret` is a string that only the first body contains."""
    if problem := require_accepted(original):
        return problem
    if conflicting.holds(secret.encode()):
        return failed("the rejection contains a value of the first request's body", Location(conflicting))
    if original.run_id and conflicting.holds(original.run_id.encode()):
        return failed("the rejection contains the first run's runId", Location(conflicting))
    if was_accepted(conflicting):
        return inconclusive("the different body was not rejected", Location(conflicting))
    text = _text(conflicting)
    leaked = [event for event in original.tokens if event.frame.id and _contains_id(text, event.frame.id)]
    if leaked:
        return failed(
            f"the rejection contains an event of the first run (id {leaked[0].frame.id})",
            Location(conflicting),
        )
    return passed("the rejection contains nothing of the first run")


@rule(
    "conflict.error-event",
    Level.SHOULD,
    "The rejection is an error event",
    why="The documentation says so, and stream clients wait for an event.",
    fix="Send the rejection as a stream with one `error` event that carries 409.",
    source="api",
)
def error_event(original: Exchange, conflicting: Exchange) -> RuleResult:
    if problem := require_accepted(original):
        return problem
    form = rejection_form(conflicting)
    if form is None:
        return inconclusive(f"no 409 to check: {conflicting.describe()}", Location(conflicting))
    if conflicting.events:
        return passed(f"the rejection is {form}")
    return failed(f"the rejection is {form}, not an error event", Location(conflicting))


@rule(
    "conflict.form",
    Level.INFO,
    "Which of the three forms the 409 has",
    why="Clients must know which of the three to look for.",
    fix="Use one form for every conflict, and document it.",
    source="reading 1",
)
def form(original: Exchange, conflicting: Exchange) -> RuleResult:
    if problem := require_accepted(original):
        return problem
    observed = rejection_form(conflicting)
    if observed is None:
        return inconclusive(f"no 409 to check: {conflicting.describe()}", Location(conflicting))
    return info(f"a reused key with a different body gets {observed}")


def _text(response: Exchange) -> str:
    """The content of a response, without the ids of its events: these may look like the ids of other runs."""
    if response.events:
        return "\n".join(event.frame.data or "" for event in response.events)
    return response.body.decode("utf-8", "replace")


def _contains_id(text: str, event_id: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(event_id)}(?![\w-])", text) is not None


def rejections(responses: Sequence[Exchange]) -> list[Exchange]:
    """The responses that are a 409 in one of its forms."""
    return [response for response in responses if rejection_form(response) is not None]
