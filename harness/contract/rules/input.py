"""input: a request that violates the documentation is rejected before any run event."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.rule import (
    Level,
    combine,
    has_run_events,
    hung_among_slow,
    require_accepted,
    rule,
    was_accepted,
)
from harness.formatting import counted
from harness.profiles.capability import Capability
from harness.protocol.strict_json import loads

_ERROR_STATUS_FIELDS = frozenset({"type", "title", "status", "detail", "instance"})


def _is_client_error(response: Exchange) -> bool:
    return response.status is not None and 400 <= response.status < 500


def _client_error(response: Exchange, what: str) -> RuleResult:
    if response.started_run:
        return failed(f"{what} was accepted: {response.describe()}", Location(response, response.first_event))
    if not _is_client_error(response):
        return failed(f"{what} got {response.describe()}, not a 4xx", Location(response))
    if has_run_events(response):
        return failed(
            f"{what} got {response.status}, but with run events", Location(response, response.first_event)
        )
    return passed(f"{what} got {response.status}")


def _each_refused(control: Exchange, responses: Mapping[str, Exchange]) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    return combine(
        [_client_error(response, what) for what, response in responses.items()],
        "each is a 4xx: " + ", ".join(responses),
    )


@rule(
    "input.not-json",
    Level.MUST,
    "Malformed JSON, an array or an empty body is a 4xx",
    why="A body that cannot be parsed must not start a run, and is the client's error, not the server's.",
    fix="Parse the body before the run starts, and answer 400 unless it is a JSON object.",
    source="api",
    promise=(Capability.MALFORMED_REJECTED,),
)
def not_json(control: Exchange, responses: Mapping[str, Exchange]) -> RuleResult:
    """`responses` by what was posted instead of a JSON object."""
    return _each_refused(control, responses)


@rule(
    "input.required",
    Level.MUST,
    "Each missing required field is a 4xx",
    why="A run without an organization, session or action cannot be attributed or executed.",
    fix=(
        "Validate the body against a schema before the run starts, and answer 400 if a required field is "
        "missing."
    ),
    source="api",
    promise=(Capability.REQUIRED_FIELDS,),
)
def required(control: Exchange, responses: Mapping[str, Exchange]) -> RuleResult:
    """`responses` by the required field that was left out."""
    return _each_refused(
        control, {f"a body without {name}": response for name, response in responses.items()}
    )


@rule(
    "input.required-named",
    Level.SHOULD,
    "The rejection names the missing field",
    why="A rejection that does not say what is missing costs its reader an hour.",
    fix="Put the name of the missing field into the rejection.",
    source="ours",
    promise=(Capability.REQUIRED_FIELDS,),
)
def required_named(control: Exchange, responses: Mapping[str, Exchange]) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    refused = {name: response for name, response in responses.items() if _is_client_error(response)}
    if not refused:
        return inconclusive("no request with a missing field was rejected")
    silent = [
        name for name, response in refused.items() if name.rpartition(".")[2].encode() not in response.body
    ]
    if silent:
        return failed(
            f"the rejection does not name the missing field {silent[0]}", Location(refused[silent[0]])
        )
    return passed("each rejection names the missing field")


@rule(
    "input.types",
    Level.MUST,
    "A field of the wrong type is a 4xx",
    why="A value of the wrong type fails later, deeper in the stack, and less clearly.",
    fix="Validate types without conversion (in Pydantic `strict=True`), and answer 400 if one is wrong.",
    source="api",
    promise=(Capability.JSON_BODY,),
)
def types(control: Exchange, responses: Mapping[str, Exchange]) -> RuleResult:
    """`responses` by the wrong value and its field."""
    return _each_refused(control, responses)


@rule(
    "input.source",
    Level.MUST,
    "A `source` other than the three documented values is a 4xx",
    why="An unknown source is usually a typo, and skews the statistics.",
    fix="Declare `source` as an enumeration of the documented values, and answer 400 for any other value.",
    source="api",
    promise=(Capability.SOURCE,),
)
def source(control: Exchange, responses: Mapping[str, Exchange]) -> RuleResult:
    """`responses` by the `source` that was sent; none is documented."""
    return _each_refused(control, {f"source {value}": response for value, response in responses.items()})


@rule(
    "input.timezone",
    Level.SHOULD,
    "A `userTimezone` that is not an IANA time zone is a 4xx",
    why="A run with a nonexistent time zone computes wrong dates.",
    fix=(
        "Look `userTimezone` up in the IANA database (in Python `zoneinfo.available_timezones()`), and "
        "answer 400 if it is not there."
    ),
    source="api",
    promise=(Capability.TIME_ZONE,),
)
def timezone(control: Exchange, responses: Mapping[str, Exchange]) -> RuleResult:
    """`responses` by the `userTimezone` that was sent; none is an IANA time zone."""
    return _each_refused(
        control, {f"userTimezone {value}": response for value, response in responses.items()}
    )


@rule(
    "input.hostile",
    Level.MUST,
    "Deep nesting, lone surrogates, NUL, 1e400, huge numbers: no 5xx, no hang",
    why="A body that crashes a parser takes other users' runs down with it.",
    fix="Catch every error of the JSON parser, limit nesting depth and number length, and answer 400.",
    source="ours",
    promise=(Capability.JSON_BODY,),
)
def hostile(control: Exchange, responses: Mapping[str, Exchange]) -> RuleResult:
    """`responses` by the hostile input. The server may accept or reject it, but must not fail or hang."""
    if problem := require_accepted(control):
        return problem
    return combine(
        [
            hung_among_slow(response, [control, *responses.values()]) or _survives(response, what)
            for what, response in responses.items()
        ],
        f"{counted(len(responses), 'hostile body', 'hostile bodies')}: no 5xx, no hang",
    )


def survives(response: Exchange) -> bool:
    """Whether the server neither failed (5xx, no response) nor hung."""
    return response.status is not None and response.status < 500 and response.ending is not Ending.TIMED_OUT


def _survives(response: Exchange, what: str) -> RuleResult:
    if response.status is not None and response.status >= 500:
        return failed(f"{what} caused status {response.status}", Location(response))
    if not survives(response):
        return failed(f"{what} got {response.describe()}", Location(response))
    return passed(f"{what} got {response.status}")


@rule(
    "input.media-type",
    Level.SHOULD,
    "A wrong Content-Type is a 415 or 400",
    why="A form post from a foreign page must not start a run.",
    fix="Answer 415 unless the media type in `Content-Type` is `application/json`.",
    source="RFC 9110",
    promise=(Capability.BODY,),
)
def media_type(control: Exchange, response: Exchange) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    allowed = response.profile.rejects.media_type
    if response.status in allowed:
        return passed(f"Content-Type text/plain got {response.status}")
    named = " or ".join(map(str, allowed))
    return failed(f"Content-Type text/plain got {response.describe()}, not {named}", Location(response))


@rule(
    "input.too-large",
    Level.SHOULD,
    "An oversized body is a 413 or 400",
    why="Without a limit, one request can fill the memory.",
    fix="Limit the size of the body in the server or in the proxy, and answer 413 above the limit.",
    source="RFC 9110",
    promise=(Capability.BODY,),
)
def too_large(control: Exchange, response: Exchange) -> RuleResult:
    if problem := require_accepted(control):
        return problem
    size = f"a body of {len(response.request.body) / 1e6:.0f} MB"
    if response.status in {400, 413}:
        return passed(f"{size} got {response.status}")
    return failed(f"{size} got {response.describe()}, not 413 or 400", Location(response))


@rule(
    "input.error-shape",
    Level.SHOULD,
    "All rejections have the same shape",
    why="Clients handle one shape of rejection; a second one breaks them.",
    fix="Write all rejections in one error handler, including those of the framework (404, 405, 422).",
    source="RFC 9457",
)
def error_shape(responses: Sequence[Exchange]) -> RuleResult:
    """`responses` include rejections of every kind. Those that are error events are left out: their shape differs."""
    refused = [response for response in responses if _is_client_error(response) and not response.events]
    if len(refused) < 2:
        return inconclusive("fewer than two rejections to compare")
    shapes: dict[str, Exchange] = {}
    for response in refused:
        shapes.setdefault(_shape(response), response)
    if len(shapes) > 1:
        return failed(
            "rejections have different shapes: "
            + "; ".join(f"{response.status}: {shape}" for shape, response in shapes.items()),
            *(Location(response) for response in shapes.values()),
        )
    if not any(map(was_accepted, responses)):
        return inconclusive("valid requests were rejected too, so the rejections prove nothing")
    return passed(f"all {len(refused)} rejections have the same shape: {next(iter(shapes))}")


def _shape(response: Exchange) -> str:
    try:
        value = loads(response.body.decode("utf-8"))
    except ValueError:
        return "not JSON"
    if not isinstance(value, dict):
        return "not a JSON object"
    if set(value) & _ERROR_STATUS_FIELDS and {"title", "status"} <= set(value):
        return "RFC 9457 problem details"
    return "fields " + ", ".join(sorted(name for name in value if re.fullmatch(r"\w{1,30}", name)))
