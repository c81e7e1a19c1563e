"""input: a request that is not what the documentation describes is refused before any run event."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.rule import Level, combine, require_accepted, rule, was_accepted

_ERROR_STATUS_FIELDS = frozenset({"type", "title", "status", "detail", "instance"})


def _client_error(answer: Exchange, what: str) -> RuleResult:
    if answer.started_run:
        return failed(f"{what} was accepted: {answer.describe()}", Location(answer, answer.events[0]))
    if answer.status is None or not 400 <= answer.status < 500:
        return failed(f"{what} got {answer.describe()}, not a 4xx", Location(answer))
    kinds = {one.event.type for one in answer.events if one.event}
    if kinds - {"error"}:
        return failed(f"{what} got {answer.status}, but with run events", Location(answer, answer.events[0]))
    return passed(f"{what} got {answer.status}")


def _each_refused(control: Exchange, answers: Mapping[str, Exchange]) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    return combine(
        [_client_error(answer, what) for what, answer in answers.items()],
        "each is a 4xx: " + ", ".join(answers),
    )


@rule(
    "input.not-json",
    Level.MUST,
    "Malformed JSON, an array or an empty body is a 4xx",
    why="What cannot be read must not be run, and is the client's mistake, not the server's.",
    source="api",
)
def not_json(control: Exchange, answers: Mapping[str, Exchange]) -> RuleResult:
    """`answers` by what was posted in place of a JSON object."""
    return _each_refused(control, answers)


@rule(
    "input.required",
    Level.MUST,
    "Each missing required field is a 4xx",
    why="A run without an organization, a session or an action belongs to nobody and does nothing known.",
    source="api",
)
def required(control: Exchange, answers: Mapping[str, Exchange]) -> RuleResult:
    """`answers` by the required field that was left out."""
    return _each_refused(control, {f"a body without {name}": answer for name, answer in answers.items()})


@rule(
    "input.required-named",
    Level.SHOULD,
    "That 4xx names the field",
    why="A rejection that does not say what is missing costs its reader an hour.",
    source="ours",
)
def required_named(control: Exchange, answers: Mapping[str, Exchange]) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    refused = {
        name: one for name, one in answers.items() if one.status is not None and 400 <= one.status < 500
    }
    if not refused:
        return inconclusive("no missing field was refused")
    silent = [name for name, answer in refused.items() if name.rpartition(".")[2].encode() not in answer.body]
    if silent:
        return failed(
            f"the rejection does not name the missing field {silent[0]}", Location(refused[silent[0]])
        )
    return passed("each rejection names the field that is missing")


@rule(
    "input.types",
    Level.MUST,
    "A field of the wrong type is a 4xx",
    why="A value taken for what it is not fails later, deeper, and worse.",
    source="api",
)
def types(control: Exchange, answers: Mapping[str, Exchange]) -> RuleResult:
    """`answers` by what stood in which field."""
    return _each_refused(control, answers)


@rule(
    "input.source",
    Level.MUST,
    "A `source` outside the three is a 4xx",
    why="An unknown source is a typing error that statistics would swallow.",
    source="api",
)
def source(control: Exchange, answers: Mapping[str, Exchange]) -> RuleResult:
    """`answers` by the `source` that was sent, none of them one of the documented three."""
    return _each_refused(control, {f"source {value}": answer for value, answer in answers.items()})


@rule(
    "input.timezone",
    Level.SHOULD,
    "A `userTimezone` that is no IANA zone is a 4xx",
    why="A run in a zone that is none computes wrong dates.",
    source="api",
)
def timezone(control: Exchange, answers: Mapping[str, Exchange]) -> RuleResult:
    """`answers` by the `userTimezone` that was sent, none of them an IANA zone."""
    return _each_refused(control, {f"userTimezone {value}": answer for value, answer in answers.items()})


@rule(
    "input.hostile",
    Level.MUST,
    "Deep nesting, lone surrogates, NUL, 1e400, huge numbers: never a 5xx, never a hang",
    why="A body that crashes a parser takes other users' runs down with it.",
    source="ours",
)
def hostile(control: Exchange, answers: Mapping[str, Exchange]) -> RuleResult:
    """`answers` by the hostile input: whatever the server makes of it, it must neither fail nor hang."""
    if problem := require_accepted(control):
        return problem
    return combine(
        [_survives(answer, what) for what, answer in answers.items()],
        f"{len(answers)} hostile bodies, no 5xx and no hang",
    )


def survives(answer: Exchange) -> bool:
    """Whether the server neither failed nor hung."""
    return answer.status is not None and answer.status < 500 and answer.ending is not Ending.TIMED_OUT


def _survives(answer: Exchange, what: str) -> RuleResult:
    if answer.status is not None and answer.status >= 500:
        return failed(f"{what} made the server fail: status {answer.status}", Location(answer))
    if not survives(answer):
        return failed(f"{what} got {answer.describe()}", Location(answer))
    return passed(f"{what} got {answer.status}")


@rule(
    "input.media-type",
    Level.SHOULD,
    "Another Content-Type is a 415 or 400",
    why="A form post from a foreign page must not start a run.",
    source="RFC 9110",
)
def media_type(control: Exchange, answer: Exchange) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    if answer.status in {400, 415}:
        return passed(f"Content-Type text/plain got {answer.status}")
    return failed(f"Content-Type text/plain got {answer.describe()}, not 415 or 400", Location(answer))


@rule(
    "input.too-large",
    Level.SHOULD,
    "An oversized body is a 413 or 400",
    why="Without a limit one request fills the memory.",
    source="RFC 9110",
)
def too_large(control: Exchange, answer: Exchange) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    size = f"a body of {len(answer.request.body) / 1e6:.0f} MB"
    if answer.status in {400, 413}:
        return passed(f"{size} got {answer.status}")
    return failed(f"{size} got {answer.describe()}, not 413 or 400", Location(answer))


@rule(
    "input.error-shape",
    Level.SHOULD,
    "Every rejection has one shape",
    why="Clients handle one shape of rejection; the second one surprises them.",
    source="RFC 9457",
)
def error_shape(answers: Sequence[Exchange]) -> RuleResult:
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
        return failed(
            "rejections have different shapes: "
            + "; ".join(f"{one.status}: {shape}" for shape, one in shapes.items()),
            *(Location(one) for one in shapes.values()),
        )
    if not any(map(was_accepted, answers)):
        return inconclusive("valid requests were refused too, so no reason for a rejection was brought about")
    return passed(f"{len(refused)} rejections have one shape: {next(iter(shapes))}")


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
