"""conflict: a key used again with another body is rejected with 409, and nothing else happens.

Three forms satisfy the documentation's "409 error event": status 409 with a stream of one ``error``
event; status 409 with a JSON error body; status 200 with a stream whose only event is an ``error`` that
carries 409.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Location, RuleResult, Verdict, failed, inconclusive, info, passed
from harness.contract.rules.resume import first_difference
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


def rejection_form(answer: Exchange) -> str | None:
    """Which of the three forms of a 409 the answer has; None when it has none."""
    types = [one.event.type for one in answer.events if one.event]
    only_error = len(answer.events) == 1 and types == ["error"]
    if answer.status == 409 and not answer.events:
        return "status 409" + (" with a JSON body" if _is_json(answer.body) else " without an error event")
    if answer.status == 409 and only_error:
        return "status 409 with an error event"
    if answer.status == 200 and answer.is_rejection_event:
        return "an error event that carries 409"
    return None


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _wanted(form: str, expect: Expectations) -> bool:
    if expect.conflict == "http-409":
        return form.startswith("status 409")
    if expect.conflict == "event":
        return "error event" in form and "without" not in form
    return True


def is_conflict(answer: Exchange, original: Exchange, situation: str, expect: Expectations) -> RuleResult:
    """Whether `answer`, to the key of `original` with another body, is a rejection with 409."""
    if problem := require_accepted(original):
        return problem
    form = rejection_form(answer)
    places = (Location(original), Location(answer, answer.events[0] if answer.events else None))
    if form is not None and _wanted(form, expect):
        return passed(f"rejected by {form}")
    if form is not None:
        return failed(f"{situation} is rejected by {form}; the target declares {expect.conflict}", *places)
    if answer.status == 422:
        return failed(
            f"{situation} got 422, which the IETF draft draft-ietf-httpapi-idempotency-key-header recommends; this "
            "API documents 409",
            *places,
        )
    if answer.started_run and answer.run_id is not None and answer.run_id == original.run_id:
        return failed(f"{situation} was answered with the first body's run", *places)
    return failed(f"{situation} got {answer.describe()}, not a 409", *places)


@rule(
    "conflict.rejected",
    Level.MUST,
    "Same key, different body is rejected with 409 (three forms, reading 1)",
    why="The same key with another body is a bug in the client; running either body hides it.",
    source="api",
)
def rejected(conflicts: Sequence[tuple[Exchange, Exchange]], *, expect: Expectations) -> RuleResult:
    """Pairs of a run and another body under its key. Whether each moment is covered has judges of its own."""
    found = [
        is_conflict(conflicting, original, "the same key with another body", expect)
        for original, conflicting in conflicts
    ]
    return next((one for one in found if one.verdict is Verdict.PASS), None) or combine(found, "")


@rule(
    "conflict.in-flight",
    Level.MUST,
    "The same while the first run is still going",
    why="The race of two different requests happens while the first is running.",
    source="api",
    needs=Need.LONG_ACTION,
)
def in_flight(original: Exchange, conflicting: Exchange, *, expect: Expectations) -> RuleResult:
    if problem := require_accepted(original):
        return problem
    over_ns = original.terminals[0].arrival_ns if original.terminals else original.timing.ended_ns
    if conflicting.timing.sent_ns is None or conflicting.timing.sent_ns >= over_ns:
        return inconclusive("the first run was over before the other body could be sent", Location(original))
    return is_conflict(conflicting, original, "another body while the first run was in flight", expect)


@rule(
    "conflict.after-completion",
    Level.MUST,
    "The same after it ended",
    why="Keys are reused by mistake hours later, too.",
    source="api",
)
def after_completion(original: Exchange, conflicting: Exchange, *, expect: Expectations) -> RuleResult:
    if problem := require_terminal(original):
        return problem
    return is_conflict(conflicting, original, "another body after the first run had ended", expect)


@rule(
    "conflict.any-field",
    Level.MUST,
    "A change in any single field, nested ones too, is a conflict",
    why="A fingerprint of some fields takes a different request for a retry.",
    source="api",
)
def any_field(original: Exchange, varied: Mapping[str, Exchange], *, expect: Expectations) -> RuleResult:
    """`varied` holds, by the name of the one field that differs, the answer to each varied body."""
    return combine(
        [
            is_conflict(
                answer, original, f"the same key with another {name}{_refused_value(answer, name)}", expect
            )
            for name, answer in varied.items()
        ],
        "each is a conflict: another " + ", ".join(varied),
    )


@rule(
    "conflict.original-untouched",
    Level.MUST,
    "The first run goes on, whole, and its key still resumes it",
    why="Somebody's mistake with a key must not kill the run that owns it.",
    source="ours",
    needs=Need.LONG_ACTION,
)
def original_untouched(original: Exchange, conflicting: Exchange, retry: Exchange) -> RuleResult:
    if problem := require_accepted(original):
        return problem
    places = (Location(original), Location(conflicting), Location(retry))
    if original.outcome != "done":
        return failed(
            f"the first run did not come to its end beside a conflict: {original.describe()}", *places
        )
    if difference := first_difference(original.sequence, retry.sequence):
        said = difference if retry.started_run else retry.describe()
        return failed(f"after the conflict the first body no longer resumes its run: {said}", *places)
    return passed("the first run went on whole, and its key still resumes it")


@rule(
    "conflict.starts-nothing",
    Level.MUST,
    "The rejected request starts no run",
    why="A rejected request that runs all the same is worse than one that is accepted.",
    source="ours",
)
def starts_nothing(original: Exchange, conflicting: Exchange, later: Exchange, again: Exchange) -> RuleResult:
    """After the conflict, `later` is the first body sent again, and `again` the conflicting one."""
    if problem := require_terminal(original):
        return problem
    if rejection_form(conflicting) is not None and again.started_run and rejection_form(again) is None:
        return failed(
            f"the rejected body, sent again, has a run: {again.describe()}",
            Location(conflicting),
            Location(again),
        )
    if conflicting.started_run and rejection_form(conflicting) is None:
        return failed(
            f"the conflicting request got a run's events: {conflicting.describe()}",
            Location(conflicting, conflicting.events[0]),
        )
    strangers = [one for one in later.events if one.identity not in original.sequence]
    if later.run_id is not None and later.run_id != original.run_id and strangers:
        return failed(
            f"after the conflict the key leads to another run: runId {quoted(later.run_id)} instead of "
            f"{quoted(original.run_id or '')}",
            Location(original),
            Location(later),
        )
    if strangers:
        return failed("after the conflict the key's run has events it had not", Location(later, strangers[0]))
    return passed("the rejected request left no run behind")


def _refused_value(answer: Exchange, name: str) -> str:
    """The value of the body's field `name`, where a server may have refused it for itself and not for the key."""
    if answer.status is None or answer.status == 409 or not 400 <= answer.status < 500:
        return ""
    try:
        body = answer.request.json()
    except ValueError:  # recorded evidence may hold a part of it
        return ""
    value = body.get(name) if isinstance(body, dict) else None
    return f" ({json.dumps(value)})" if isinstance(value, str) else ""


@rule(
    "conflict.leaks-nothing",
    Level.MUST,
    "The rejection holds nothing of the first run's body or events",
    why="Who guesses a key must not be shown what was asked under it.",
    source="D",
)
def leaks_nothing(original: Exchange, conflicting: Exchange, secret: str) -> RuleResult:
    """`secret` is a text that stands in the first body alone."""
    if problem := require_accepted(original):
        return problem
    if conflicting.holds(secret.encode()):
        return failed("the rejection holds a value of the first request's body", Location(conflicting))
    if original.run_id and conflicting.holds(original.run_id.encode()):
        return failed("the rejection names the first run's runId", Location(conflicting))
    if was_accepted(conflicting):
        return inconclusive("the other body was not rejected", Location(conflicting))
    text = _text(conflicting)
    told = [one for one in original.tokens if one.frame.id and _names(text, one.frame.id)]
    if told:
        return failed(
            f"the rejection holds an event of the first run (id {told[0].frame.id})", Location(conflicting)
        )
    return passed("the rejection holds nothing of the first run")


@rule(
    "conflict.error-event",
    Level.SHOULD,
    "The rejection is an error event",
    why="The documentation says so, and clients of the stream wait for an event.",
    source="api",
)
def error_event(original: Exchange, conflicting: Exchange) -> RuleResult:
    if problem := require_accepted(original):
        return problem
    form = rejection_form(conflicting)
    if form is None:
        return inconclusive(f"there was no 409 to judge: {conflicting.describe()}", Location(conflicting))
    if conflicting.events:
        return passed(f"the rejection is {form}")
    return failed(f"the rejection is {form}, not an error event", Location(conflicting))


@rule(
    "conflict.form",
    Level.INFO,
    "Which of the three forms the 409 has",
    why="Clients must know which of the three to look for.",
    source="reading 1",
)
def form(original: Exchange, conflicting: Exchange) -> RuleResult:
    if problem := require_accepted(original):
        return problem
    found = rejection_form(conflicting)
    if found is None:
        return inconclusive(f"there was no 409 to judge: {conflicting.describe()}", Location(conflicting))
    return info(f"a reused key with another body gets {found}")


def _text(answer: Exchange) -> str:
    """What an answer says; ids of its own events, which may look like others', are no part of it."""
    if answer.events:
        return "\n".join(one.frame.data or "" for one in answer.events)
    return answer.body.decode("utf-8", "replace")


def _names(text: str, event_id: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(event_id)}(?![\w-])", text) is not None


def rejections(answers: Sequence[Exchange]) -> list[Exchange]:
    """Those of `answers` that are a 409 in one of its forms."""
    return [answer for answer in answers if rejection_form(answer) is not None]
