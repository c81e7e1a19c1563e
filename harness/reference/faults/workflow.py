"""Faults that violate the workflow requirements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from harness.contract.rules import workflow
from harness.reference.actions import Tokens
from harness.reference.api import Submission
from harness.reference.faults.base import Fault
from harness.reference.settings import ServerSettings


class OutputsOfAnotherSession(Fault, name="outputs-of-another-session", breaks=workflow.no_crosstalk):
    """Keeps the outputs by organization while it prepares the action: of two sessions, both get the last one's."""

    lag_s: ClassVar[float] = 0.2  # between preparing an action and starting it

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._outputs: dict[str, list[str]] = {}

    def action(self, submission: Submission) -> Callable[[], Tokens]:
        start = super().action(submission)
        if not submission.request.previousOutputs:
            return start
        self._outputs[submission.organization] = super().previous_outputs(submission)
        return partial(self._later, start)

    async def _later(self, start: Callable[[], Tokens]) -> Tokens:
        await asyncio.sleep(self.lag_s)
        async for token in start():
            yield token

    def previous_outputs(self, submission: Submission) -> list[str]:
        own = super().previous_outputs(submission)
        return self._outputs.get(submission.organization, own) if own else own


class OutputsKept(Fault, name="outputs-kept-after-the-session", breaks=workflow.new_session):
    """Remembers an organization's last outputs, and gives them to a session that sends none."""

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self._outputs: dict[str, list[str]] = {}

    def previous_outputs(self, submission: Submission) -> list[str]:
        own = super().previous_outputs(submission)
        if own:
            self._outputs[submission.organization] = own
        return own or self._outputs.get(submission.organization, [])


class OutputsDropped(Fault, name="outputs-dropped", breaks=workflow.outputs_passed):
    """Validates previousOutputs and does not pass them on."""

    def previous_outputs(self, submission: Submission) -> list[str]:  # noqa: ARG002 - what it drops
        return []


class OnlyTheLastOutput(Fault, name="only-the-last-output", breaks=workflow.all_outputs):
    """Passes on the output of the step before, and not those of the earlier ones."""

    def previous_outputs(self, submission: Submission) -> list[str]:
        return super().previous_outputs(submission)[-1:]


class OutputsReversed(Fault, name="outputs-reversed", breaks=workflow.all_outputs):
    """Passes the outputs on with the newest first."""

    def previous_outputs(self, submission: Submission) -> list[str]:
        return super().previous_outputs(submission)[::-1]


class OutputsCut(Fault, name="outputs-cut", breaks=workflow.outputs_whole):
    """Stores outputs in a column of limited length."""

    longest: ClassVar[int] = 4000

    def previous_outputs(self, submission: Submission) -> list[str]:
        return [output[: self.longest] for output in super().previous_outputs(submission)]


class OutputsInAscii(Fault, name="outputs-in-ascii", breaks=workflow.outputs_whole):
    """Stores outputs in a column for ASCII, with a question mark for any other character."""

    def previous_outputs(self, submission: Submission) -> list[str]:
        return [output.encode("ascii", "replace").decode() for output in super().previous_outputs(submission)]
