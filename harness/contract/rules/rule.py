"""A rule: a check of Exchanges that decides one requirement.

A rule is a pure function that returns a RuleResult. The arguments of the ``rule`` decorator are its requirement;
``harness.contract.requirements`` collects them into the catalogue. Rules about a run's events are inconclusive if
there are no events: an empty response must never pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import StrEnum
from functools import wraps
from typing import Any

from harness.contract.decoding.decoded_frame import DecodedFrame
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding, Location, RuleResult, Verdict, inconclusive, listed
from harness.profiles.capability import Capability
from harness.profiles.profile import Profile

_DEFAULT = Expectations()
_DETAIL_CHARACTERS = 4000
_PLACES = 100
_SLOW_NS = 1_000_000_000  # until the first event; what is faster excuses nothing
#: Areas whose failures a status code or header field shows, even of a response that was not read completely.
_DECIDED_BY_HEAD = frozenset({"headers", "auth", "security", "input"})


class Level(StrEnum):
    """How severe a violation of the requirement is."""

    MUST = "MUST"  # fails the run
    SHOULD = "SHOULD"  # warns; fails under --strict
    INFO = "INFO"  # reports what the server does; never fails


class Need(StrEnum):
    """What the target must offer for a rule to apply. Without it the verdict is *not applicable*."""

    LONG_ACTION = "long action"
    FAILING_ACTION = "failing action"
    CANCELLED_ACTION = "cancelled action"
    SILENT_ACTION = "silent action"
    QUIET_ACTION = "quiet action"
    ECHO_ACTION = "echo action"
    RECALL_ACTION = "recall action"
    SECOND_PRINCIPAL = "second principal"
    SECOND_ROUTE = "second route"
    REPLICAS = "replicas"
    RESTART = "restart command"

    @property
    def setting(self) -> str:
        """What in the settings file declares it."""
        return _SETTINGS[self]


_SETTINGS = {
    Need.LONG_ACTION: "[target.actions.long]",
    Need.FAILING_ACTION: "[target.actions.failure]",
    Need.CANCELLED_ACTION: "[target.actions.cancelled]",
    Need.SILENT_ACTION: "[target.actions.silent]",
    Need.QUIET_ACTION: "[target.actions.quiet]",
    Need.ECHO_ACTION: "[target.actions.echo] with {text} in a parameter",
    Need.RECALL_ACTION: "[target.actions.recall]",
    Need.SECOND_PRINCIPAL: "[target.second_principal]",
    Need.SECOND_ROUTE: "[target.other_route]",
    Need.REPLICAS: "target.replicas",
    Need.RESTART: "target.restart_command, or use --harness-restart",
}


_HINTS = {Capability.CANCEL: "; if the server can cancel a run, configure [target.cancel]"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row of the catalogue.

    id: ``area.slug``; never renumbered, never reused. text: what is required. why: what breaks if it is violated.
    fix: what to change in the server to meet it, one sentence. source: ``api`` (the API's documentation),
    ``reading n`` (our interpretation of a gap in it), ``W`` (WHATWG HTML 9.2, server-sent events), an RFC number, ``D``
    (draft-ietf-httpapi-idempotency-key-header), ``Fetch`` (the Fetch standard), ``ours`` (undocumented behaviour that
    clients rely on). needs: what the target must offer. promise: what its API must promise.
    """

    id: str
    level: Level
    text: str
    why: str
    fix: str
    source: str
    needs: Need | None = None
    promise: frozenset[Capability] = frozenset()

    def not_promised(self, profile: Profile) -> str | None:
        """Why the requirement is not applicable to an API, in a sentence; None if it is applicable."""
        if self.promise <= profile.capabilities:
            return None
        lacking = [name for name in Capability if name in self.promise and name not in profile.capabilities]
        hint = _HINTS.get(lacking[0], "") if lacking else ""
        return f"this API promises no {lacking[0]} (profile {profile.name}){hint}" if lacking else None

    @property
    def area(self) -> str:
        """The part of the id before the dot."""
        return self.id.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Rule:
    """Decides one requirement. Call it with the evidence that its function takes.

    any_stream: applies to any single stream, whatever was requested. format_only: concerns only the format of a
    stream, so every regular stream (Exchange.is_regular) meets it. escalates: whether this target's declarations
    make a SHOULD a MUST. Raises TypeError if the evidence does not fit the function.
    """

    requirement: Requirement
    function: Callable[..., RuleResult]
    takes_expectations: bool
    any_stream: bool = False
    format_only: bool = False
    escalates: Callable[[Expectations], bool] | None = None

    def __call__(self, *evidence: Any, expect: Expectations = _DEFAULT) -> Finding:
        if self.requirement.promise:
            first: Exchange | None = evidence[0] if evidence and type(evidence[0]) is Exchange else None
            if first is None:
                first = next(_exchanges(evidence), None)
            reason = self.requirement.not_promised(first.profile) if first is not None else None
            if reason is not None:
                return Finding(self.requirement.id, Verdict.NOT_APPLICABLE, reason)
        options = {"expect": expect} if self.takes_expectations else {}
        result = self.function(*evidence, **options)
        if result.verdict is Verdict.FAIL:
            result = _unless_late(result)
        if result.verdict is Verdict.FAIL and self.requirement.area not in _DECIDED_BY_HEAD:
            result = self._unless_unread(result, evidence)
        verdict = result.verdict
        must = self.requirement.level is Level.MUST or (self.escalates is not None and self.escalates(expect))
        if verdict is Verdict.FAIL and not must:
            verdict = Verdict.WARN
        detail = result.detail
        if len(detail) > _DETAIL_CHARACTERS:  # it may name thousands of things that the server sent
            detail = f"{detail[:_DETAIL_CHARACTERS]}…"
        return Finding(self.requirement.id, verdict, detail, result.places[:_PLACES])

    def _unless_unread(self, failure: RuleResult, evidence: Any) -> RuleResult:
        """The failure, or an inconclusive result if it may be due to what the harness did not read.

        A rule for single streams decides that itself: what it saw before may be a violation.
        """
        if self.any_stream:
            return failure
        for exchange in _exchanges(evidence):
            if exchange.obstacle is not None:
                return inconclusive(
                    f"{exchange.label} was not read completely: {exchange.obstacle}", Location(exchange)
                )
        return failure


def _unless_late(failure: RuleResult) -> RuleResult:
    """The failure, or an inconclusive result if all that it points at are requests that the harness sent too late."""
    delays = {place.exchange.own_delay for place in failure.places}
    if not delays or None in delays:
        return failure
    first = failure.places[0].exchange
    return inconclusive(f"{first.label} was not sent: {first.own_delay}", *failure.places)


def _exchanges(evidence: Any) -> Iterator[Exchange]:
    """Every Exchange in a rule's evidence."""
    if isinstance(evidence, Exchange):
        yield evidence
    elif isinstance(evidence, dict | Mapping):
        yield from _exchanges(list(evidence.values()))
    elif isinstance(evidence, list | tuple):
        for member in evidence:
            yield from _exchanges(member)
    elif is_dataclass(evidence):
        yield from _exchanges([getattr(evidence, field.name) for field in fields(evidence)])


def rule(
    requirement_id: str,
    level: Level,
    text: str,
    *,
    why: str,
    fix: str,
    source: str,
    needs: Need | None = None,
    promise: Iterable[Capability] = (),
    any_stream: bool = False,
    format_only: bool = False,
    escalates: Callable[[Expectations], bool] | None = None,
) -> Callable[[Callable[..., RuleResult]], Rule]:
    """Make a function the rule for a requirement. The arguments are those of Requirement and of Rule."""
    requirement = Requirement(requirement_id, level, text, why, fix, source, needs, frozenset(promise))

    def bind(function: Callable[..., RuleResult]) -> Rule:
        takes_expectations = "expect" in inspect.signature(function).parameters
        return Rule(requirement, function, takes_expectations, any_stream, format_only, escalates)

    return bind


def needs_events(function: Callable[..., RuleResult]) -> Callable[..., RuleResult]:
    """Make a rule inconclusive if its first Exchange has no events.

    A stream without a RunEvent is not a run, so a pass on it becomes inconclusive too. A failure stays a failure.
    """

    @wraps(function)
    def guarded(run: Exchange, *rest: Any, **options: Any) -> RuleResult:
        if run.is_regular:  # so it is a 200, and its events are RunEvents
            return function(run, *rest, **options)
        if not run.started_run:
            return inconclusive(f"no run to check: {run.describe()}", Location(run))
        result = function(run, *rest, **options)
        if result.verdict in {Verdict.PASS, Verdict.INFO} and not was_accepted(run):
            return inconclusive(f"no event of the stream is a RunEvent: {run.describe()}", Location(run))
        return result

    return guarded


def require_terminal(run: Exchange) -> RuleResult | None:
    """None if `run` reached its terminal event; otherwise an inconclusive result."""
    if run.started_run and run.outcome is not None:
        return None
    return inconclusive(f"{run.label} did not reach a terminal event: {run.describe()}", Location(run))


def was_accepted(response: Exchange) -> bool:
    """Whether a request got a run: at least one of the events is a RunEvent. An echo of the request is not one."""
    return response.started_run and response.summary.run_events > 0


def has_run_events(response: Exchange) -> bool:
    """Whether an event of the response is neither an error nor the end of the stream."""
    events = (event.event for event in response.events)
    return any(
        event is not None and event.outcome != "error" and not (event.is_literal or event.is_trailer)
        for event in events
    )


def require_accepted(*controls: Exchange) -> RuleResult | None:
    """None if the valid requests were accepted; otherwise an inconclusive result, as a rejection proves nothing."""
    for control in controls:
        if not was_accepted(control):
            return inconclusive(
                f"a valid request ({control.label}) was not accepted either: {control.describe()}",
                Location(control),
            )
    return None


def hung_among_slow(response: Exchange, others: Iterable[Exchange]) -> RuleResult | None:
    """An inconclusive result if a response without an event hung while others came late too; else None.

    The first event of one of the others, or its whole answer, took half as long as the harness waited for this one.
    """
    if response.ending is not Ending.TIMED_OUT or response.events or (response.status or 0) >= 500:
        return None
    waited_ns = response.timing.ended_ns - response.timing.started_ns
    answered = [other for other in others if other is not response and other.ending is not Ending.TIMED_OUT]
    slowest_ns = max(map(_first_ns, answered), default=0)
    if 2 * slowest_ns < waited_ns or slowest_ns < _SLOW_NS:
        return None
    return inconclusive(
        f"{response.label} got {response.describe()}, but the server was slow for others too: one waited "
        f"{slowest_ns / 1e9:.1f} s",
        Location(response),
    )


def _first_ns(response: Exchange) -> int:
    """How long its first event took, or all of it if it has none."""
    first_ns = response.summary.first_event_ns
    return (response.timing.ended_ns if first_ns is None else first_ns) - response.timing.started_ns


def is_same_run(first: Exchange, second: Exchange) -> bool:
    """Whether two responses are of the same run: by runId if both have one, else by their events.

    Event ids are weaker evidence than a runId: runs that start in the same millisecond may use the same ids.
    """
    if first.run_id is not None and second.run_id is not None:
        return first.run_id == second.run_id
    return first.sequence == second.sequence


def combine(results: list[RuleResult], all_passed: str) -> RuleResult:
    """Several results for one requirement as one: failed if any failed, passed only if all passed.

    The detail names the failures up to a readable length. The first place of each has its failure as a note, so the
    evidence names all of them.
    """
    failures = [result for result in results if result.verdict is Verdict.FAIL]
    if len(failures) == 1:
        return failures[0]
    if failures:
        places = tuple(place for failure in failures for place in _noted(failure))
        return RuleResult(Verdict.FAIL, listed(failure.detail for failure in failures), places)
    for result in results:
        if result.verdict is not Verdict.PASS:
            return result
    if not results:
        return inconclusive("nothing was tested")
    return RuleResult(Verdict.PASS, all_passed)


def _noted(failure: RuleResult) -> tuple[Location, ...]:
    """The places of a failure; the first one's note is what failed."""
    if not failure.places:
        return ()
    first, *rest = failure.places
    note = f"{failure.detail} ({first.note})" if first.note else failure.detail
    return (replace(first, note=note), *rest)


def event_label(frame: DecodedFrame) -> str:
    """An event in a sentence: its position from 1, and its id if it has one."""
    return f"event {frame.index + 1}" + (f" (id {frame.id})" if frame.id is not None else "")


def quoted(text: str, limit: int = 80) -> str:
    """Text from the server in a sentence: shortened, with unprintable characters escaped."""
    shown = text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
    return repr(shown)
