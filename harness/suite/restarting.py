"""Restarts the target by the command of its settings, and waits until it accepts runs again."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from harness.contract.exchange import Exchange
from harness.contract.rules.rule import quoted
from harness.suite.not_decided import Undecided

_OUTPUT_BYTES = 4096
_BETWEEN_TRIES_S = 0.1


async def run_command(command: str, within_s: float) -> None:
    """Run a shell command. Raises Undecided if it fails, or if it has not ended after `within_s` seconds.

    Then everything that it started is killed.
    """
    process = await asyncio.create_subprocess_shell(
        command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(within_s):
            output = await _last_bytes(process.stdout)
            code = await process.wait()
    except TimeoutError:
        raise Undecided(
            f"target.restart_command did not end within {within_s:g} s (budgets.restart)"
        ) from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if code != 0:
        last_line = output.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise Undecided(
            f"target.restart_command ended with code {code}" + (f": {quoted(last_line)}" if last_line else "")
        )


async def _last_bytes(stream: asyncio.StreamReader) -> bytes:
    """The end of what a process writes; all of it is read, so that it never waits."""
    kept = b""
    while part := await stream.read(_OUTPUT_BYTES):
        kept = (kept + part)[-_OUTPUT_BYTES:]
    return kept


async def accepted_again(
    tries: Iterable[Callable[[], Awaitable[Exchange]]], until_s: float
) -> list[list[Exchange]]:
    """Try each of `tries` again and again until it is a run that reached its end.

    until_s: on the event loop's clock. Returns the first response and the last one of each.
    """
    loop = asyncio.get_running_loop()
    answers = []
    for again in tries:
        answer = first = await again()
        while (not answer.started_run or answer.outcome is None) and loop.time() < until_s:
            await asyncio.sleep(_BETWEEN_TRIES_S)
            answer = await again()
        answers.append([answer] if answer is first else [first, answer])
    return answers
