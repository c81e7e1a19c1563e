"""input: a request that is not what the documentation describes is refused before any run event."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Judgement, Place, broken, held, inconclusive
from harness.contract.rules.rule import accepted, first_not_accepted, judges, merged

_ERROR_STATUS_FIELDS = frozenset({"type", "title", "status", "detail", "instance"})


def _client_error(answer: Exchange, what: str) -> Judgement:
    if answer.started_run:
        return broken(f"{what} was accepted: {answer.describe()}", Place(answer, answer.events[0]))
    if answer.status is None or not 400 <= answer.status < 500:
        return broken(f"{what} got {answer.describe()}, not a 4xx", Place(answer))
    kinds = {one.event.type for one in answer.events if one.event}
    if kinds - {"error"}:
        return broken(f"{what} got {answer.status}, but with run events", Place(answer, answer.events[0]))
    return held(f"{what} got {answer.status}")


def _each_refused(control: Exchange, answers: Mapping[str, Exchange]) -> Judgement:
    if problem := first_not_accepted(control):
        return problem
    return merged(
        [_client_error(answer, what) for what, answer in answers.items()],
        "each is a 4xx: " + ", ".join(answers),
    )


@judges("input.not-json")
def not_json(control: Exchange, answers: Mapping[str, Exchange]) -> Judgement:
    """`answers` by what was posted in place of a JSON object."""
    return _each_refused(control, answers)


@judges("input.required")
def required(control: Exchange, answers: Mapping[str, Exchange]) -> Judgement:
    """`answers` by the required field that was left out."""
    return _each_refused(control, {f"a body without {name}": answer for name, answer in answers.items()})


@judges("input.required-named")
def required_named(control: Exchange, answers: Mapping[str, Exchange]) -> Judgement:
    if problem := first_not_accepted(control):
        return problem
    refused = {
        name: one for name, one in answers.items() if one.status is not None and 400 <= one.status < 500
    }
    if not refused:
        return inconclusive("no missing field was refused")
    silent = [name for name, answer in refused.items() if name.rpartition(".")[2].encode() not in answer.body]
    if silent:
        return broken(f"the rejection does not name the missing field {silent[0]}", Place(refused[silent[0]]))
    return held("each rejection names the field that is missing")


@judges("input.types")
def types(control: Exchange, answers: Mapping[str, Exchange]) -> Judgement:
    """`answers` by what stood in which field."""
    return _each_refused(control, answers)


@judges("input.source")
def source(control: Exchange, answers: Mapping[str, Exchange]) -> Judgement:
    """`answers` by the `source` that was sent, none of them one of the documented three."""
    return _each_refused(control, {f"source {value}": answer for value, answer in answers.items()})


@judges("input.timezone")
def timezone(control: Exchange, answers: Mapping[str, Exchange]) -> Judgement:
    """`answers` by the `userTimezone` that was sent, none of them an IANA zone."""
    return _each_refused(control, {f"userTimezone {value}": answer for value, answer in answers.items()})


@judges("input.hostile")
def hostile(control: Exchange, answers: Mapping[str, Exchange]) -> Judgement:
    """`answers` by the hostile input: whatever the server makes of it, it must neither fail nor hang."""
    if problem := first_not_accepted(control):
        return problem
    return merged(
        [_survives(answer, what) for what, answer in answers.items()],
        f"{len(answers)} hostile bodies, no 5xx and no hang",
    )


def survives(answer: Exchange) -> bool:
    """Whether the server neither failed nor hung."""
    return answer.status is not None and answer.status < 500 and answer.ending is not Ending.TIMED_OUT


def _survives(answer: Exchange, what: str) -> Judgement:
    if answer.status is not None and answer.status >= 500:
        return broken(f"{what} made the server fail: status {answer.status}", Place(answer))
    if not survives(answer):
        return broken(f"{what} got {answer.describe()}", Place(answer))
    return held(f"{what} got {answer.status}")


@judges("input.media-type")
def media_type(control: Exchange, answer: Exchange) -> Judgement:
    if problem := first_not_accepted(control):
        return problem
    if answer.status in {400, 415}:
        return held(f"Content-Type text/plain got {answer.status}")
    return broken(f"Content-Type text/plain got {answer.describe()}, not 415 or 400", Place(answer))


@judges("input.too-large")
def too_large(control: Exchange, answer: Exchange) -> Judgement:
    if problem := first_not_accepted(control):
        return problem
    size = f"a body of {len(answer.request.body) / 1e6:.0f} MB"
    if answer.status in {400, 413}:
        return held(f"{size} got {answer.status}")
    return broken(f"{size} got {answer.describe()}, not 413 or 400", Place(answer))


@judges("input.error-shape")
def error_shape(answers: Sequence[Exchange]) -> Judgement:
    """`answers` are rejections of every kind that was met; those in the form of an error event have their own."""
    refused = [
        one for one in answers if one.status is not None and 400 <= one.status < 500 and not one.events
    ]
    if len(refused) < 2:
        return inconclusive("there were not two rejections to compare")
    shapes: dict[str, Exchange] = {}
    for answer in refused:
        shapes.setdefault(_shape(answer), answer)
    if len(shapes) > 1:
        return broken(
            "rejections have different shapes: "
            + "; ".join(f"{one.status}: {shape}" for shape, one in shapes.items()),
            *(Place(one) for one in shapes.values()),
        )
    if not any(map(accepted, answers)):
        return inconclusive("valid requests were refused too, so no reason for a rejection was brought about")
    return held(f"{len(refused)} rejections have one shape: {next(iter(shapes))}")


def _shape(answer: Exchange) -> str:
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        return "no JSON"
    if not isinstance(value, dict):
        return "no JSON object"
    if set(value) & _ERROR_STATUS_FIELDS and {"title", "status"} <= set(value):
        return "RFC 9457 problem details"
    return "fields " + ", ".join(sorted(name for name in value if re.fullmatch(r"\w{1,30}", name)))
