"""What the servers' model says: a function of the prompt, so that each action of the harness has a prompt of its own.

No network, no model. Every server of this folder runs in its own environment and imports this module by path.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_GAP_S = 0.02
_QUIET_S = 6.0


class ScriptedCancelError(Exception):
    """The model stops because the prompt asks it to be cancelled."""


class ScriptedError(Exception):
    """The model fails because the prompt asks it to."""


async def pieces(prompt: str) -> AsyncIterator[str]:
    """The pieces of the answer. The prompt's first word decides.

    slow: 60 pieces within 3 s. fail: an error at once. midfail: an error after three pieces. cancelled: cancelled after
    three pieces. quiet: a gap of 6 s. silent: no piece. Any other: ten pieces, then the prompt.
    """
    kind = prompt.split(" ", 1)[0].casefold()
    if kind == "fail":
        raise ScriptedError("the model fails at once")
    if kind == "silent":
        return
    count = 60 if kind == "slow" else len(WORDS)
    for number in range(count):
        if kind == "midfail" and number == 3:
            raise ScriptedError("the model fails in the middle")
        if kind == "cancelled" and number == 3:
            raise ScriptedCancelError("the run is cancelled in the middle")
        await asyncio.sleep(
            _QUIET_S if kind == "quiet" and number == 3 else 0.05 if kind == "slow" else _GAP_S
        )
        yield f"{WORDS[number % len(WORDS)]} "
    yield prompt
