"""What a judge is: a rule over Exchanges, bound to the one requirement that it decides.

A rule is a pure function that returns a Judgement. The judge adds what the catalogue knows: a broken
SHOULD is a warning. Judges that speak of a run's events find nothing to say where there were none, and
say *inconclusive*: an empty answer must never pass for a correct one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from harness.contract.decoding.full_decoder import DecodedFrame
from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.finding import Finding, Location, RuleResult, Verdict, inconclusive
from harness.contract.requirements import Level, Requirement, find

RULES: dict[str, Rule] = {}

_DEFAULT = Expectations()


@dataclass(frozen=True, slots=True)
class Rule:
    """Decides one requirement. Call it with the evidence its rule names.

    of_form: it speaks of a stream's form alone, so it holds of every regular stream (Exchange.is_regular).
    Raises TypeError when the evidence does not fit the rule.
    """

    requirement: Requirement
    rule: Callable[..., RuleResult]
    wants_expectations: bool
    of_form: bool
    escalates: Callable[[Expectations], bool] | None

    def __call__(self, *evidence: Any, expect: Expectations = _DEFAULT) -> Finding:
        told = {"expect": expect} if self.wants_expectations else {}
        judgement = self.rule(*evidence, **told)
        verdict = judgement.verdict
        must = self.requirement.level is Level.MUST or (self.escalates is not None and self.escalates(expect))
        if verdict is Verdict.FAIL and not must:
            verdict = Verdict.WARN
        return Finding(self.requirement.id, verdict, judgement.detail, judgement.places)


def rule(
    requirement_id: str,
    *,
    of_form: bool = False,
    escalates: Callable[[Expectations], bool] | None = None,
) -> Callable[[Callable[..., RuleResult]], Rule]:
    """Make a rule the judge of that requirement.

    of_form: see Judge. escalates: says whether this target's declarations turn a SHOULD into a MUST.
    Raises KeyError for an id that the catalogue lacks, ValueError for one that has its judge already.
    """
    requirement = find(requirement_id)

    def bind(rule: Callable[..., RuleResult]) -> Rule:
        if requirement_id in RULES:
            raise ValueError(f"{requirement_id} has two judges")
        judge = Rule(requirement, rule, "expect" in inspect.signature(rule).parameters, of_form, escalates)
        RULES[requirement_id] = judge
        return judge

    return bind


def needs_events(rule: Callable[..., RuleResult]) -> Callable[..., RuleResult]:
    """A rule that is judged on the events of its first Exchange; without any it is inconclusive.

    So is what holds for a stream without a single RunEvent: it is no run. What is broken in it is broken.
    """

    def guarded(run: Exchange, *rest: Any, **told: Any) -> RuleResult:
        if run.is_regular:  # then it is a 200, and its events are RunEvents
            return rule(run, *rest, **told)
        if not run.started_run:
            return inconclusive(f"there is no run to judge: {run.describe()}", Location(run))
        judgement = rule(run, *rest, **told)
        if judgement.verdict in {Verdict.PASS, Verdict.INFO} and not was_accepted(run):
            return inconclusive(f"no event of the stream is a RunEvent: {run.describe()}", Location(run))
        return judgement

    guarded.__signature__ = inspect.signature(rule)  # type: ignore[attr-defined]
    guarded.__doc__ = rule.__doc__
    return guarded


def require_terminal(run: Exchange) -> RuleResult | None:
    """None when `run` is a stream that came to its terminal event; else why it can prove nothing."""
    if run.started_run and run.outcome is not None:
        return None
    return inconclusive(f"{run.label} did not come to a terminal event: {run.describe()}", Location(run))


def was_accepted(answer: Exchange) -> bool:
    """Whether a request got a run: events, and at least one of them a RunEvent. An echo is none."""
    return answer.started_run and answer.summary.run_events > 0


def require_accepted(*controls: Exchange) -> RuleResult | None:
    """None when the valid requests were accepted; else there is nothing to compare a rejection with."""
    for control in controls:
        if not was_accepted(control):
            return inconclusive(
                f"{control.label}, a valid request, was not accepted either: {control.describe()}",
                Location(control),
            )
    return None


def is_same_run(first: Exchange, second: Exchange) -> bool:
    """Whether two answers are of one run: by runId where both tell one, else by their events.

    Ids tell less than a runId: runs of the same moment may count alike.
    """
    if first.run_id is not None and second.run_id is not None:
        return first.run_id == second.run_id
    return first.sequence == second.sequence


def combine(judgements: list[RuleResult], all_held: str) -> RuleResult:
    """Several judgements on the same requirement as one: broken if any is, held only if all are."""
    broken = [one for one in judgements if one.verdict is Verdict.FAIL]
    if broken:
        places = tuple(place for one in broken for place in one.places)
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        return replace(broken[0], detail=broken[0].detail + more, places=places)
    for one in judgements:
        if one.verdict is not Verdict.PASS:
            return one
    if not judgements:
        return inconclusive("nothing was tried")
    return RuleResult(Verdict.PASS, all_held)


def event_label(one: DecodedFrame) -> str:
    """An event as a sentence names it: its place from 1, and its id where it has one."""
    return f"event {one.index + 1}" + (f" (id {one.frame.id})" if one.frame.id is not None else "")


def quoted(text: str, limit: int = 80) -> str:
    """Server-supplied text, shortened for a sentence, with what is not printable escaped."""
    shown = text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
    return repr(shown)
