"""Sessions of several steps, at the same time."""

from __future__ import annotations

import asyncio
import uuid

from harness.contract.exchange import Exchange
from harness.contract.rules.rule import Need
from harness.contract.rules.workflow import marker, step_text
from harness.suite.scenario import NotApplicable, ScenarioContext

_SESSIONS = 3
_LONG_CHARACTERS = 9_000  # more than 8 KiB
_SENTENCE = 'The "notes" say: naïve café, 42 °C, a tab\tand a back\\slash; '


def _long_text(text: str) -> str:
    """A text of thousands of characters, with some that are easily changed. It begins with `text`."""
    return f"{text} {_SENTENCE * (_LONG_CHARACTERS // len(_SENTENCE))}end."


async def workflow_sessions(context: ScenarioContext) -> dict[str, list[Exchange]]:
    """Simultaneous sessions: two echo steps, the second one long, then a recall step with the outputs of both."""
    context.require(Need.RECALL_ACTION)
    if context.target.action("echo") is None:
        raise NotApplicable(f"configure {Need.ECHO_ACTION.setting}")
    sessions: dict[str, list[Exchange]] = {marker(): [] for _ in range(_SESSIONS)}
    ids = {own: str(uuid.uuid4()) for own in sessions}
    target = context.target

    async def step(own: str, number: int, action: str) -> None:
        outputs = [earlier.text for earlier in sessions[own]]
        echoed = {1: step_text(own, 1), 2: _long_text(step_text(own, 2))}.get(number)
        request = target.step(action, ids[own], outputs, text=echoed)
        sessions[own].append(await context.send(request, f"step {number} of a session ({action})"))

    for number, action in enumerate(("echo", "echo", "recall"), 1):
        await asyncio.gather(*(step(own, number, action) for own in sessions))
    return sessions


async def session_without_outputs(context: ScenarioContext) -> Exchange:
    """A step of the recall action in a new session, without outputs, after other sessions."""
    await context.run_once(workflow_sessions)
    return await context.send(
        context.target.step("recall", str(uuid.uuid4()), []), "the first step of a new session (recall)"
    )
