"""Restarts the target, by the command of its settings or by the user's hand, and waits until it accepts runs again."""

from __future__ import annotations

import asyncio
import os
import time
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.atomic_file import atomic_write_text
from harness.contract.exchange import Exchange
from harness.contract.rules.restart import shows_restart
from harness.errors import SettingsError
from harness.formatting import visible
from harness.protocol.request import HttpRequest
from harness.shell_command import CommandError, CommandOutput, failure, kill_session, late
from harness.suite.not_decided import Undecided

_OUTPUT_BYTES = 4096
_BETWEEN_TRIES_S = 0.1
_ANSWER_WITHIN_S = 600.0
_READY = (
    b"\nharness: the last tests need a restart of the server. Have its command ready, then press Enter here;\n"
    b"         you are then asked to restart it. Until you do, the suite keeps a few runs in flight.\n"
)
_NOW = "\nharness: runs are in flight. Restart the server NOW, within {within_s:g} s (budgets.restart).\n"
_SEEN = b"\nharness: the restart was seen; the tests continue.\n"
_NOT_SEEN = b"\nharness: no restart was seen; the tests continue without it.\n"
_MOST_FLIGHTS = 40


@dataclass(frozen=True, slots=True)
class Restarting:
    """How the target is restarted.

    command: the shell command that does it. within_s: its bound, and that of the target's return (budgets.restart).
    terminal: the path of a terminal, if the user is asked there to do it. tells: a file that gets the time for a load
    that runs at the same time on this machine: monotonic ns, because the wall clock may be set. mask: of `run_shell`.
    """

    command: str | None
    within_s: float
    terminal: str | None = None
    tells: Path | None = None
    mask: Callable[[str], str] = visible

    def __post_init__(self) -> None:
        """Raises SettingsError if the terminal cannot be opened, which would show only at the end of the suite."""
        if self.terminal is not None:
            try:
                os.close(os.open(self.terminal, os.O_RDWR | os.O_NOCTTY))
            except OSError as problem:
                raise SettingsError(
                    f"--harness-restart asks on the terminal {self.terminal}, which cannot be opened "
                    f"({problem.strerror}): run it in a terminal, or configure target.restart_command"
                ) from None

    @property
    def is_possible(self) -> bool:
        """Whether there is a way."""
        return self.terminal is not None or self.command is not None

    async def prepare(self) -> None:
        """Wait until the user is ready. Raises Undecided if nobody is."""
        if self.terminal is not None:
            await ask(self.terminal, _READY)

    def tell(self, message: bytes) -> None:
        """Write to the user, if the user restarts the target. Raises Undecided if the terminal is gone."""
        if self.terminal is not None:
            with _opened(self.terminal) as terminal:
                os.write(terminal, message)

    async def restart(self) -> None:
        """Restart the target, or tell the user to do it. Raises Undecided if the command fails or takes too long."""
        if self.tells is not None:
            atomic_write_text(self.tells, str(time.monotonic_ns()))
        if self.terminal is not None:
            self.tell(_NOW.format(within_s=self.within_s).encode())
        elif self.command is not None:
            await run_command(self.command, self.within_s, self.mask)


Flight = Sequence[tuple[HttpRequest, list[Exchange]]]
"""Runs that were in flight at the same time, with what their readers got."""

Begin = Callable[[], Awaitable[Callable[[], Awaitable[Flight]]]]
"""Starts such runs, and returns what reads them to their end."""


async def restart_in_flight(restarting: Restarting, begin: Begin) -> tuple[Flight, float]:
    """Restart the target; returns the runs that were in flight then, and when that was, on the event loop's clock.

    A user, or a command that stops the target in order, may take longer than the runs: then others begin, until one is
    interrupted or the budget of the restart is over. Raises Undecided like `Restarting.restart`.
    """
    loop = asyncio.get_running_loop()
    read = await begin()
    began_s = loop.time()
    restart = asyncio.create_task(restarting.restart())
    flight: Flight = []
    try:
        for number in range(1, _MOST_FLIGHTS + 1):
            newest = await read()
            # Those that could not begin, because the target was down, were not in flight.
            flight = [one for one in newest if any(reader.events for reader in one[1])] or flight or newest
            is_seen = any(shows_restart(reader) for _, readers in newest for reader in readers)
            is_over = restart.done() and restarting.terminal is None
            is_late = loop.time() >= began_s + restarting.within_s or number == _MOST_FLIGHTS
            if is_seen or is_over or is_late:
                break
            read = await begin()
        await restart
    finally:
        restart.cancel()
    restarting.tell(_SEEN if is_seen else _NOT_SEEN)
    return flight, began_s if restarting.terminal is None else loop.time()


async def ask(path: str, question: bytes, within_s: float = _ANSWER_WITHIN_S) -> None:
    """Write to a terminal, and wait for a line from it. Raises Undecided without an answer."""
    loop = asyncio.get_running_loop()
    with _opened(path) as terminal:
        os.write(terminal, question)
        answered = asyncio.Event()
        loop.add_reader(terminal, answered.set)
        try:
            await asyncio.wait_for(answered.wait(), within_s)
            os.read(terminal, _OUTPUT_BYTES)
        except TimeoutError:
            raise Undecided(f"nobody answered the question on {path} within {within_s:g} s") from None
        finally:
            loop.remove_reader(terminal)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A terminal. Raises Undecided if it is gone."""
    try:
        terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
    except OSError as problem:
        raise Undecided(f"the terminal {path} cannot be opened: {problem.strerror}") from None
    try:
        yield terminal
    finally:
        os.close(terminal)


async def run_command(command: str, within_s: float, mask: Callable[[str], str] = visible) -> None:
    """As `run_shell`, on an event loop. Raises Undecided."""
    try:
        with CommandOutput() as output:
            await _run_command(command, within_s, mask, output)
    except CommandError as problem:
        raise Undecided(f"target.restart_command {problem}") from None


async def _run_command(
    command: str, within_s: float, mask: Callable[[str], str], output: CommandOutput
) -> None:
    process = await asyncio.create_subprocess_shell(
        command, stdin=DEVNULL, stdout=output.writing, stderr=STDOUT, start_new_session=True
    )
    output.started()
    try:
        async with asyncio.timeout(within_s):
            code = None
            while code is None:
                with suppress(TimeoutError):
                    code = await asyncio.wait_for(process.wait(), output.read())
    except TimeoutError:
        raise CommandError(late(within_s)) from None
    finally:
        if process.returncode is None:
            kill_session(process.pid)
            await process.wait()
    if code != 0:
        raise CommandError(failure(code, output, mask))


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
