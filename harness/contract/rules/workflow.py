"""workflow: the outputs of earlier steps reach a step whole, and no other session's.

Evidence of a session are its steps in their order. The last one is of the recall action: it returns the outputs that
its request has. The others echo texts with the session's marker.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence

from harness.contract.exchange import Exchange
from harness.contract.finding import Location, RuleResult, failed, inconclusive, passed
from harness.contract.rules.rule import Level, Need, combine, quoted, rule
from harness.formatting import counted
from harness.profiles.capability import Capability

SessionSteps = Sequence[Exchange]

_MARKER = re.compile(r"session-[0-9a-f]{32}")
_NUMBER_CHARACTERS = 4
_PROMISE = (Capability.PREVIOUS_OUTPUTS,)


def marker() -> str:
    """A text that only one session sends."""
    return f"session-{uuid.uuid4().hex}"


def step_text(own: str, number: int) -> str:
    """A text that only this step of one session sends. own: the session's `marker`. number: of the step, from 1."""
    return f"{own}.{number:03}"


def _unusable(sessions: Mapping[str, SessionSteps]) -> RuleResult | None:
    """Why the steps decide nothing: one was not accepted or not received whole, or did not echo its text."""
    if not sessions:
        return inconclusive("there was no session")
    for text, steps in sessions.items():
        for step in steps:
            if not step.started_run or step.outcome is None:
                return inconclusive(f"{step.label} did not end: {step.describe()}", Location(step))
            if step.outcome != "done":
                return inconclusive(f"{step.label} did not succeed: {step.describe()}", Location(step))
        for step in steps[:-1]:
            if text not in step.text:
                return inconclusive(f"{step.label} did not return the text it was sent", Location(step))
    return None


def _foreign(step: Exchange, own: str | None) -> str | None:
    """The marker of a different session in a step's text; None if there is none."""
    return next((found for found in _MARKER.findall(step.text) if found != own), None)


@rule(
    "workflow.no-crosstalk",
    Level.MUST,
    "A step never shows the outputs of a different session",
    why="What one user's agent found out is in another user's run.",
    fix="Keep the outputs with their request or with their session, not in a place that all sessions share.",
    source="ours",
    needs=Need.RECALL_ACTION,
    promise=_PROMISE,
)
def no_crosstalk(sessions: Mapping[str, SessionSteps]) -> RuleResult:
    """`sessions` maps the marker of each of several simultaneous sessions to its steps."""
    for own, steps in sessions.items():
        for step in steps:
            if (found := _foreign(step, own)) is not None:
                places = [Location(step), *(Location(other[0]) for other in [sessions.get(found)] if other)]
                return failed(f"{step.label} shows an output of a different session", *places)
    if problem := _unusable(sessions):
        return problem
    silent = next((steps[-1] for own, steps in sessions.items() if own not in steps[-1].text), None)
    if silent is not None:
        return inconclusive(
            f"{silent.label} shows no output of the session, so it may show none at all", Location(silent)
        )
    return passed(f"{counted(len(sessions), 'session')}, each with only its own outputs")


@rule(
    "workflow.new-session",
    Level.MUST,
    "A session without earlier steps starts without outputs",
    why="An agent starts with the results of a different conversation.",
    fix="Take the outputs from the request alone; without any, give the action none.",
    source="ours",
    needs=Need.RECALL_ACTION,
    promise=_PROMISE,
)
def new_session(sessions: Mapping[str, SessionSteps], fresh: Exchange) -> RuleResult:
    """`fresh` is a run of the recall action in a new session, without outputs, after the steps of `sessions`."""
    if (found := _foreign(fresh, None)) is not None:
        places = [Location(fresh), *(Location(other[-1]) for other in [sessions.get(found)] if other)]
        return failed("a new session shows the output of an earlier one", *places)
    if not fresh.started_run or fresh.outcome is None:
        return inconclusive(f"{fresh.label} did not end: {fresh.describe()}", Location(fresh))
    if problem := _unusable(sessions):
        return problem
    if not any(own in steps[-1].text for own, steps in sessions.items()):
        return inconclusive("no session shows its own outputs, so nothing shows what a new one has")
    return passed("a new session starts without outputs")


@rule(
    "workflow.outputs-passed",
    Level.MUST,
    "The output of the step before reaches the action",
    why="The next step works without the result it needs, and makes one up.",
    fix="Pass previousOutputs on to the action.",
    source="api",
    needs=Need.RECALL_ACTION,
    promise=_PROMISE,
)
def outputs_passed(sessions: Mapping[str, SessionSteps]) -> RuleResult:
    if problem := _unusable(sessions):
        return problem
    return combine(
        [_passed_on(own, steps) for own, steps in sessions.items()],
        f"{counted(len(sessions), 'session')}: each step got the output of the one before",
    )


def _passed_on(own: str, steps: SessionSteps) -> RuleResult:
    *before, recall = steps
    if own in recall.text:
        return passed("passed on")
    return failed(
        f"{recall.label} shows no output of the {counted(len(before), 'step')} before it",
        Location(recall),
        Location(before[-1]),
    )


@rule(
    "workflow.all-outputs",
    Level.MUST,
    "The outputs of all earlier steps reach the action, in their order",
    why="An agent that sees only the last step forgets what the first ones found.",
    fix="Pass every entry of previousOutputs on, in the order of the request.",
    source="ours",
    needs=Need.RECALL_ACTION,
    promise=_PROMISE,
)
def all_outputs(sessions: Mapping[str, SessionSteps]) -> RuleResult:
    if problem := _unusable(sessions):
        return problem
    return combine(
        [_in_order(own, steps) for own, steps in sessions.items()],
        f"{counted(len(sessions), 'session')}: all outputs, in their order",
    )


def _in_order(own: str, steps: SessionSteps) -> RuleResult:
    *before, recall = steps
    if own not in recall.text:
        return inconclusive(f"{recall.label} shows no output at all", Location(recall))
    at = 0
    for number, step in enumerate(before, 1):
        beginning = _beginning(step.text)
        found = recall.text.find(beginning, at)
        if found < 0:
            what = (
                "lacks the output" if beginning not in recall.text else "has in a different order the output"
            )
            return failed(
                f"{recall.label} {what} of step {number} of {len(before)}, {quoted(beginning)}",
                Location(recall),
                Location(step),
            )
        at = found + len(beginning)
    return passed("all in order")


def _beginning(text: str) -> str:
    """What tells an output from those of the session's other steps: its `step_text`."""
    found = _MARKER.search(text)
    return "" if found is None else text[found.start() : found.end() + _NUMBER_CHARACTERS]


@rule(
    "workflow.outputs-whole",
    Level.MUST,
    "The outputs of earlier steps reach the action unchanged",
    why="A long document that is cut without a word makes the next step's answer wrong, not late.",
    fix="Do not shorten or re-encode outputs; reject with 413 what is too large.",
    source="ours",
    needs=Need.RECALL_ACTION,
    promise=_PROMISE,
)
def outputs_whole(sessions: Mapping[str, SessionSteps]) -> RuleResult:
    if problem := _unusable(sessions):
        return problem
    return combine(
        [_whole(own, steps) for own, steps in sessions.items()],
        f"{counted(len(sessions), 'session')}: outputs of up to "
        f"{max(len(step.text) for steps in sessions.values() for step in steps[:-1]):,} characters, unchanged",
    )


def _whole(own: str, steps: SessionSteps) -> RuleResult:
    *before, recall = steps
    if own not in recall.text:
        return inconclusive(f"{recall.label} shows no output at all", Location(recall))
    for number, step in enumerate(before, 1):
        if step.text in recall.text:
            continue
        if _beginning(step.text) not in recall.text:
            continue  # it is missing, which is not about its length
        kept = _common(recall.text, step.text)
        return failed(
            f"{recall.label} has the output of step {number} only up to character {kept:,} of {len(step.text):,}",
            Location(recall),
            Location(step),
        )
    return passed("unchanged")


def _common(text: str, output: str) -> int:
    """How many first characters of an output the text has."""
    low, high = 0, len(output)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if output[:middle] in text else (low, middle - 1)
    return low
