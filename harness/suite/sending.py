"""Sends requests to a target that may limit or queue them, so that the suite does not report its own haste as a defect.

429 and 503 are waited out, and runs that wait for each other are sent one after the other. Only a request that is
refused again and again while other requests are accepted has got its answer, which is judged like any other.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from harness.config.target import CreationError, Target
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Budgets
from harness.contract.rules.rule import Need
from harness.formatting import counted
from harness.protocol.request import HttpRequest
from harness.suite.new_run import new_run
from harness.suite.not_decided import NotApplicable, Undecided
from harness.suite.queueing import runs_at_once
from harness.suite.request_budget import RequestBudget
from harness.suite.routing import Route
from harness.suite.throttle import Throttle, retry_after_s
from harness.transport.asyncio_client import AsyncClient, AsyncExchange
from harness.transport.receiver import Cut

_UNLIMITED = 10_000
_CONTROL = "a request to compare with"
_WHEN_THROTTLED = 8  # connections at a time to a target that limits requests
_SENDS = 4  # of a request that gets 429 or 503, before it is sent alone
_ATTEMPTS = 4  # of a scenario whose connections get 429 or 503
_CONTROLS = 3  # times that other requests must be accepted before a 429 or 503 is the answer to this one

T = TypeVar("T")


@dataclass(slots=True)
class _Attempt:
    """One attempt of a scenario. number: from 0; later ones have the target to themselves.

    streams: what it opened. widest: the most connections that it reserved at once.
    """

    number: int = 0
    streams: list[AsyncExchange] = field(default_factory=list)
    widest: int = 1


_HAS_CONNECTIONS: ContextVar[bool] = ContextVar("_HAS_CONNECTIONS", default=False)
_ATTEMPT: ContextVar[_Attempt | None] = ContextVar("_ATTEMPT", default=None)
_ROUTE: ContextVar[Route | None] = ContextVar("_ROUTE", default=None)


class PatientSender:
    """Sends requests, as fast and as many at a time as the target accepts.

    max_connections: at the same time; None for no limit. max_requests: in all; None for no limit. runs_at_once: how
    many runs a target that queues serves at a time; else None.
    """

    def __init__(
        self, target: Target, budgets: Budgets, max_connections: int | None, max_requests: int | None = None
    ) -> None:
        self.target = target
        self.requests = RequestBudget(max_requests)
        self.client = AsyncClient(
            target.endpoint,
            budgets,
            target.memory,
            target.profile,
            target.replicas,
            self.requests.take,
            is_traced=target.settings.trace_suite,
        )
        self.throttle = Throttle()
        self.runs_at_once: int | None = None
        self._max_connections = max_connections
        self._capacity = self._free = max_connections or _UNLIMITED
        self._freed = asyncio.Condition()
        self._waiting_for_all = 0
        self._refuses_some = False  # a 429 or 503 was the answer to a certain request
        self._answered: set[str] = set()  # the kinds of streams to which it was the answer
        self._deciding: dict[str, asyncio.Event] = {}  # by kind of stream: set when it is decided
        self._settling = asyncio.Lock()

    async def find_queue(self) -> None:
        """Find out whether the target queues, and from then on send only as many requests at a time as it serves.

        Call it before the first scenario. Raises Undecided if the budget of requests does not allow that.
        """
        self.runs_at_once = await runs_at_once(self.target, self.requests)
        if self.runs_at_once is not None:
            self._capacity = self._free = min(self._capacity, self.runs_at_once)

    async def unrefused(self, play: Callable[[], Awaitable[T]]) -> T:
        """The outcome of `play`; played again, without other requests, while the target refuses some of its streams.

        For each part of a scenario that has several: a target that refuses one request in forty would otherwise refuse
        one of them at every attempt. Raises Undecided if the target refuses other requests too, and what `play` raises.
        """
        attempt, outcome, problem = await self._attempt(0, play)
        refused = self._refused(attempt)
        waited = [response for response in refused if not response.is_throttled]
        if waited:  # for each other: to send them again would end in the same way
            raise Undecided(self._explain(waited[0], attempt.widest))
        if refused and self.throttle.has_accepted and not await self._is_answered(refused):
            kinds = {_kind(response) for response in refused}
            decided = asyncio.Event()
            self._deciding.update(dict.fromkeys(kinds - self._deciding.keys(), decided))
            try:
                outcome, problem = await self._again(attempt, play)
            finally:
                decided.set()
                for kind in [kind for kind, event in self._deciding.items() if event is decided]:
                    del self._deciding[kind]
        if problem is not None:
            raise problem
        return outcome  # type: ignore[return-value]  # there is one without a problem

    async def _attempt(
        self, number: int, play: Callable[[], Awaitable[T]]
    ) -> tuple[_Attempt, T | None, Exception | None]:
        """One attempt, its outcome, and what it raised, which a refused stream may have caused."""
        attempt = _Attempt(number)
        token = _ATTEMPT.set(attempt)
        try:
            outcome = await play()
        except (NotApplicable, Undecided):
            raise
        except Exception as problem:  # noqa: BLE001 - raised by the caller
            return attempt, None, problem
        finally:
            _ATTEMPT.reset(token)
        if len(self._refused(attempt)) < len(attempt.streams):
            self.throttle.accepted()
        return attempt, outcome, None

    async def _again(
        self, attempt: _Attempt, play: Callable[[], Awaitable[T]]
    ) -> tuple[T | None, Exception | None]:
        """Further attempts, without other requests, until one is not refused or the refusals are an answer.

        A kind of stream has its answer if most of them were refused in each of these attempts. `attempt` does not
        count: next to other requests, some may have come too late to be refused.
        """
        outcome: T | None = None
        problem: Exception | None = None
        kinds: set[str] | None = None
        for number in range(1, _ATTEMPTS):
            if self.throttle.gave_up:
                break
            in_burst = attempt.widest > 1
            await asyncio.gather(
                *(self.throttle.rejected(one, in_burst=in_burst) for one in self._refused(attempt))
            )
            attempt, outcome, problem = await self._attempt(number, play)
            if not self._refused(attempt):
                return outcome, problem
            refused = self._mostly_refused(attempt)
            kinds = refused if kinds is None else kinds & refused
        if not kinds or not await self._accepts_others(attempt.widest, _CONTROLS):
            why = self._explain(self._refused(attempt)[-1], attempt.widest)
            raise Undecided(why, ends_test=self.throttle.gave_up)
        self._answered |= kinds
        self._found_refusals()
        return outcome, problem

    def _found_refusals(self) -> None:
        self._refuses_some = True
        self.throttle.reset()

    async def _is_answered(self, refused: Sequence[Exchange]) -> bool:
        """Whether refusals of these kinds are known to be answers, once a decision on them in progress has ended."""
        kinds = {_kind(response) for response in refused}
        for event in {self._deciding[kind] for kind in kinds & self._deciding.keys()}:
            await event.wait()
        return kinds <= self._answered

    def _mostly_refused(self, attempt: _Attempt) -> set[str]:
        """The kinds of streams of which the target refused at least half."""
        ended = Counter(_kind(stream.exchange) for stream in attempt.streams if stream.finished)
        refused = Counter(map(_kind, self._refused(attempt)))
        return {kind for kind, count in refused.items() if 2 * count >= ended[kind]}

    def _refused(self, attempt: _Attempt) -> list[Exchange]:
        ended = [stream.exchange for stream in attempt.streams if stream.finished]
        return [exchange for exchange in ended if self._is_refused(exchange)]

    def _is_refused(self, response: Exchange) -> bool:
        """Whether the target put the request off: 429, 503, or a wait in its queue that used up the time budget."""
        waited = response.ending is Ending.TIMED_OUT and not response.summary.events
        return response.is_throttled or (waited and self.runs_at_once is not None)

    async def _accepts_others(self, count: int, times: int) -> bool:
        """Whether the target accepts other requests, `count` at once, each of several times."""
        for _ in range(times):
            if self.throttle.gave_up:
                return False
            async with self._alone(count):
                others = await asyncio.gather(*(self._control() for _ in range(count)))
            refused = [other for other in others if self._is_refused(other)]
            if len(refused) < count:
                self.throttle.accepted()
            if refused:
                await asyncio.gather(*map(self.throttle.rejected, refused))
                return False
        return True

    async def _control(self) -> Exchange:
        """The response to a valid request for a run, or to what comes before it, if that is not accepted."""
        try:
            request = await new_run(self.client, self.target, "success")
        except CreationError as problem:
            return problem.answer
        return await self.client.exchange(request, _CONTROL)

    def _explain(self, refused: Exchange, count: int) -> str:
        advice = "limit the suite with --harness-max-concurrency"
        if not refused.is_throttled:
            why = f"{self.queue_note}: {refused.ending_detail}"
            return f"{why}; {advice} {self.runs_at_once}"
        what = f"{count} requests at once" if count > 1 else "requests"
        return (
            f"the target refuses {what} for now (status {refused.status}), whatever they ask for, and did so again "
            f"after the time in Retry-After; raise its limit, or {advice}"
        )

    @property
    def queue_note(self) -> str:
        """That the target queues, in a clause; empty if it does not."""
        if self.runs_at_once is None:
            return ""
        return f"the target serves {counted(self.runs_at_once, 'run')} at a time and lets others wait"

    def require_at_once(self, count: int) -> None:
        """Raises Undecided if the target serves fewer than `count` runs at a time."""
        if self.runs_at_once is not None and self.runs_at_once < count:
            raise Undecided(f"{self.queue_note}; {count} at once are needed here")

    def parties(self, count: int) -> int:
        """How many requests to send at the same moment: `count`, or half as many each time the target refused it."""
        attempt = _ATTEMPT.get()
        return count if attempt is None else max(2, count >> attempt.number)

    @asynccontextmanager
    async def connections(self, count: int) -> AsyncIterator[None]:
        """Reserve `count` connections for the block, all at once, so that scenarios cannot deadlock.

        Raises NotApplicable if --harness-max-concurrency is lower than `count`.
        """
        if _HAS_CONNECTIONS.get():
            yield
            return
        limit = self._max_connections
        if limit is not None and count > limit:
            raise NotApplicable(
                f"{count} simultaneous connections needed; --harness-max-concurrency allows {limit}"
            )
        attempt = _ATTEMPT.get()
        if attempt is not None:
            attempt.widest = max(attempt.widest, count)
        alone = attempt is not None and attempt.number > 0
        async with self._reserved(self._capacity if alone else min(count, self._capacity)):
            await self.throttle.turn(count)
            yield

    @asynccontextmanager
    async def _reserved(self, count: int) -> AsyncIterator[None]:
        wants_all = count == self._capacity  # first, since it waits until all others have ended
        async with self._freed:
            self._waiting_for_all += wants_all
            try:
                await self._freed.wait_for(lambda: self._may_reserve(count, wants_all=wants_all))
                self._free -= count
            finally:
                self._waiting_for_all -= wants_all
                self._freed.notify_all()
        token = _HAS_CONNECTIONS.set(True)
        try:
            yield
        finally:
            _HAS_CONNECTIONS.reset(token)
            async with self._freed:
                self._free += count
                self._freed.notify_all()

    def _may_reserve(self, count: int, *, wants_all: bool) -> bool:
        if self._free < count or wants_all:
            return self._free >= count
        used = self._capacity - self._free
        # The others would only wait for their turn, and so long nobody could have all connections.
        crowded = self.throttle.is_active and used > 0 and used + count > _WHEN_THROTTLED
        return not self._waiting_for_all and not crowded

    @asynccontextmanager
    async def _alone(self, count: int = 1) -> AsyncIterator[None]:
        """The target without any other request, once it may be sent `count` requests."""
        async with self._reserved(self._capacity):
            await self.throttle.turn(count)
            yield

    async def send(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
    ) -> Exchange:
        """Send `request` and wait for the end of the response.

        After a 429 or 503 the request is sent again when Retry-After has passed, up to three times, then alone. Raises
        Undecided if the target then refuses other requests too.
        """
        if barrier is not None or _HAS_CONNECTIONS.get():
            return await self.open(request, label, cut=cut, barrier=barrier).result()
        request, label = self._routed(request, label)
        again = label
        for _ in range(_SENDS):
            async with self.connections(1):
                response = await self.client.open(request, again, cut=cut).result()
            if not self._is_refused(response):
                self.throttle.accepted()
                return response
            again = f"{label} (again, after a {response.status or 'wait'})"
            if self.throttle.gave_up or self._refuses_some:
                break
            await self.throttle.rejected(response)
        return await self._settle(request, again, cut, response)

    async def _settle(self, request: HttpRequest, label: str, cut: Cut | None, last: Exchange) -> Exchange:
        """Decide whether a refusal is for now or is the answer to this request: it, if others are accepted."""
        if not self.throttle.has_accepted:
            self.throttle.gave_up = True
            return last
        if self._refuses_some:
            await asyncio.sleep(retry_after_s(last))
            async with self.connections(1):
                last = await self.client.open(request, label, cut=cut).result()
                other = await self._control()
            if not self._is_refused(last) or not self._is_refused(other):
                return last
        async with self._settling:
            return await self._settle_alone(request, label, cut, last)

    async def _settle_alone(
        self, request: HttpRequest, label: str, cut: Cut | None, last: Exchange
    ) -> Exchange:
        accepted_others = []
        for _ in range(_CONTROLS):
            if self.throttle.gave_up or self._refuses_some:
                break
            async with self._alone():
                last = await self.client.open(request, label, cut=cut).result()
            if not self._is_refused(last):
                self.throttle.accepted()
                return last
            await self.throttle.rejected(last)
            accepted_others.append(await self._accepts_others(1, 1))
        if self._refuses_some or (accepted_others and all(accepted_others)):
            self._found_refusals()
            return last
        self.throttle.gave_up = not any(accepted_others)
        raise Undecided(self._explain(last, 1), ends_test=self.throttle.gave_up)

    def open(
        self,
        request: HttpRequest,
        label: str,
        *,
        cut: Cut | None = None,
        barrier: asyncio.Barrier | None = None,
        receive_buffer_bytes: int | None = None,
    ) -> AsyncExchange:
        """Start to send `request`. Open several at once only inside a `connections` block.

        If the target answers 429 or 503, the whole scenario is run again. Raises Undecided if the budget of requests
        is used up.
        """
        request, label = self._routed(request, label)
        try:
            stream = self.client.open(
                request, label, cut=cut, barrier=barrier, receive_buffer_bytes=receive_buffer_bytes
            )
        except Undecided:
            if barrier is not None:  # the others would wait for this one
                self._aborting = asyncio.ensure_future(barrier.abort())
            raise
        attempt = _ATTEMPT.get()
        if attempt is not None:
            attempt.streams.append(stream)
        return stream

    @contextmanager
    def across_replicas(self) -> Iterator[None]:
        """Send the requests of the block that have one key to different replicas.

        What scenarios under `run_once` send is not affected. Raises NotApplicable without target.replicas.
        """
        if not self.target.replicas:
            raise NotApplicable(f"configure {Need.REPLICAS.setting}")
        token = _ROUTE.set(Route([*self.target.replicas], self.target.settings.base_url))
        try:
            yield
        finally:
            _ROUTE.reset(token)

    def begin_route(self, key: str | None) -> None:
        """Let the first request with this new key go to the next replica, in a block of `across_replicas`."""
        route = _ROUTE.get()
        if route is not None and key is not None:
            route.begin(key)

    def elsewhere(self, run: HttpRequest, request: HttpRequest) -> HttpRequest:
        """A request about a run, to another replica than `run` in a block of `across_replicas`.

        Requests with a key need no such hint: which of them belong together is known.
        """
        route = _ROUTE.get()
        if route is None or self.target.key_of(request) is not None:
            return request
        return request.at(route.after(run.origin))

    def _routed(self, request: HttpRequest, label: str) -> tuple[HttpRequest, str]:
        """The request, to the replica whose turn it is, and a label that names it."""
        route = _ROUTE.get()
        if route is None:
            return request, label
        number = route.next(self.target.key_of(request), request.origin)
        return request.at(route.replicas[number]), f"{label}, at replica {number + 1}"


def _kind(response: Exchange) -> str:
    """What a stream is in its scenario: its label without numbers."""
    return re.sub(r"\d+", "", response.label)
