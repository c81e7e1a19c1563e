"""Runs a journey's streams: register, send, record the outcome, check the rules.

Every stream is counted exactly once, whatever stops it: scheduled before it is sent, ended when its response ends,
finalized when it has been checked. `StreamRunner.run` does this for one stream. `StreamRunner.group` is for
journeys that compare streams with each other: they are checked once all have ended.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import gevent

from harness.config.target import BEFORE_A_RUN, CreationError, Target
from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Finding
from harness.contract.rules import headers
from harness.contract.rules.arrivals import is_held_back
from harness.contract.rules.stream import rules_for
from harness.errors import LocalResourceError
from harness.load.journeys.cpu_yield import CpuYield
from harness.load.journeys.moments import RandomMoments, RunTimes
from harness.load.journeys.new_run import NewRun, NotStartedError
from harness.load.journeys.stream_handle import StreamCheck, StreamHandle
from harness.load.journeys.trace import JourneyTrace
from harness.load.stats.collector import Collector, PendingStream
from harness.load.stats.stream_metrics import StreamStep
from harness.load.stats.trace_sampler import TraceSampler
from harness.protocol.request import HttpRequest
from harness.transport.gevent_client import GeventClient
from harness.transport.receiver import Cut, CutHow, Pace

SLOW_READ_BYTES = 1024
_DEFAULT_RUN_EVENTS = 4  # until a run of the action has been seen
_EVENT_BYTES = 256  # estimate with framing, on the high side
_BUFFERED_READS = 8  # slow reads that the kernel's receive buffer may hold
_LONGEST_PAUSE_S = 0.25
_STOP_EXCEPTIONS = (gevent.GreenletExit, KeyboardInterrupt, SystemExit)


class StreamRunner:
    """Runs the streams of one user or one arrival.

    stopping: whether the test is being stopped. run_lengths, run_times: events per run and their times by action,
    learned during the test. They and cpu_yield are shared by all runners of a process. moments: waits for random
    moments of a run in flight. wait_for_stop: waits for this time in seconds, less if the test is being stopped.
    is_traced: whether requests have a traceparent field, all with one trace id: make a new runner for each journey.
    excuses: whether an exchange failed for a reason that says nothing about a rule.
    sampler: gets the journey's spans; then call `end`.
    `refused` is set when a connection is refused.
    """

    def __init__(
        self,
        client: GeventClient,
        target: Target,
        collector: Collector,
        *,
        stopping: Callable[[], bool],
        rng: random.Random | None = None,
        run_lengths: dict[str, int] | None = None,
        run_times: dict[str, RunTimes] | None = None,
        cpu_yield: CpuYield | None = None,
        wait_for_stop: Callable[[float], object] = gevent.sleep,
        is_traced: bool = True,
        excuses: Callable[[Exchange], bool] = lambda _: False,
        sampler: TraceSampler | None = None,
    ) -> None:
        self.target = target
        self.refused = False
        self.rng = rng or random.Random()  # noqa: S311 - it chooses cuts, not secrets
        self.moments = RandomMoments(self.rng, run_times)
        self.collector = collector
        self._client = client
        self._trace = JourneyTrace(is_sent=is_traced, sampler=sampler)
        self._stopping = stopping
        self._wait_for_stop = wait_for_stop
        self._cpu_yield = cpu_yield or CpuYield()
        self._may_yield = True
        self._excuses = excuses
        self.run_lengths = {} if run_lengths is None else run_lengths

    def end(self) -> None:
        """The journey is over: nothing of it is sent any more."""
        self._trace.end()

    def pause(self, seconds: float) -> bool:
        """Wait as a user does between two requests. False if the test is being stopped: then nothing should start."""
        if seconds and not self._stopping():
            self._wait_for_stop(seconds)
        return not self._stopping()

    def run(
        self,
        journey: str,
        step: StreamStep,
        request: HttpRequest | NewRun,
        *,
        check: StreamCheck | None = None,
        intended_ns: int | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> Exchange:
        """Run one stream to its end and check it.

        check: applied in addition to the rules for every stream. intended_ns: when it was due, monotonic clock.
        cut: cut the connection after some events. pace: read slowly. Raises CollectorClosedError when the test
        has ended, and NotStartedError.
        """
        handle = self.begin(journey, step, request, intended_ns=intended_ns, cut=cut, pace=pace)
        if check is not None:
            handle.checks.append(check)
        try:
            return self.execute(handle)
        finally:
            self.finalize(handle)

    def group(self, journey: str, intended_ns: int | None = None) -> StreamGroup:
        """Several streams of one journey, as a context manager. intended_ns: when the first is due."""
        return StreamGroup(self, journey, intended_ns)

    def begin(
        self,
        journey: str,
        step: StreamStep,
        request: HttpRequest | NewRun,
        *,
        only_check: StreamCheck | None = None,
        intended_ns: int | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> StreamHandle:
        """Count a stream as scheduled; `execute` sends it. only_check: replaces the rules for every stream.

        What comes before a new run is sent here. Raises NotStartedError if it does not get what the run needs.
        """
        stream = self.collector.schedule(journey, step, intended_ns)
        self._trace.scheduled(stream)
        label = f"{journey}: {step.name}"
        if isinstance(request, NewRun):
            began_ns = time.monotonic_ns()
            request = self._new_run(request, stream, label)
            if intended_ns is not None:  # the time that this took is not the run's
                intended_ns += time.monotonic_ns() - began_ns
        live = self._client.open(self._trace.of(request), label, intended_ns=intended_ns, cut=cut, pace=pace)
        handle = StreamHandle(stream, live, only_check or self.check_stream)
        if step.begins_run and only_check is None:
            handle.checks.append(check_delivery)
        return handle

    def _new_run(self, new: NewRun, stream: PendingStream, label: str) -> HttpRequest:
        """The request for a new run, after the requests that some APIs need before it."""
        if not self.target.profile.before_run:
            return self.target.run(new.action, run_id=new.run_id)
        values = self.target.values(new.action)
        for step in self.target.profile.before_run:
            creation = self.target.creation(step, values)
            live = self._client.open(self._trace.of(creation), f"{label}, {BEFORE_A_RUN}")
            handle = StreamHandle(stream, live, _no_check)
            try:
                answer = self.execute(handle, ends_stream=False)
                values |= self.target.kept(step, answer)
                self._trace.add_request(answer)
            except CreationError as reason:
                self._record_end(handle)
                self.finalize(handle)
                raise NotStartedError(str(reason)) from None
        return self.target.run_with(values, run_id=new.run_id)

    def execute(self, handle: StreamHandle, *, ends_stream: bool = True) -> Exchange:
        """Send the request, wait for the end of the stream and count its outcome; `finalize` must follow.

        A stopped stream is counted too: as in flight at the end of the test, else as abandoned. ends_stream: false for
        a request before the stream's own, which is counted only if it was stopped.
        """
        try:
            handle.live.run()
        except _STOP_EXCEPTIONS:
            self.record_stop(handle)
            raise
        except BaseException as problem:
            self.record_stop(handle, fault=_fault_of(problem))
            raise
        try:
            self._cpu_yield.acquire()
        finally:  # it has ended, even if this greenlet is stopped while it waits
            if ends_stream:
                self._record_end(handle)
        return handle.exchange

    def _record_end(self, handle: StreamHandle) -> None:
        try:
            outcome = self.collector.end(handle.stream, handle.exchange)
        except Exception as problem:
            self.collector.abort(handle.stream, handle.exchange, f"while measuring it: {problem!r}")
            raise
        handle.unchecked = outcome != "in flight"  # the collector was closed before; it stays in flight
        if outcome == "refused":
            self.refused = True

    def record_stop(self, handle: StreamHandle, *, fault: str | None = None) -> None:
        """Count a stream whose greenlet was stopped. fault: the harness fault that stopped it, if any.

        If the stream had ended before its greenlet noticed, it counts as ended.
        """
        if self._stopping():
            self._client.pause_reading()
        handle.live.stop()
        if fault is None and handle.live.error is not None:  # raised, but its greenlet was stopped first
            fault = _fault_of(handle.live.error)
        if fault is None and handle.exchange.ending is not Ending.STOPPED:
            self._record_end(handle)
            return
        handle.stream.exchange = handle.exchange
        if (fault is not None or not self._stopping()) and not self.collector.closed:
            self.collector.abort(handle.stream, handle.exchange, fault)

    def finalize(self, handle: StreamHandle) -> None:
        """Check an ended stream and record the findings. Does nothing for a stream that was stopped.

        An exception in a check is a harness fault and is re-raised; the stream is then neither a success nor a
        failure.
        """
        if not handle.unchecked:
            return
        handle.unchecked = False
        try:
            if handle.fault is None:
                self._check(handle)
        except _STOP_EXCEPTIONS:  # stopped while it yielded: check it now, without yielding
            self._may_yield = False
            self._check(handle)
            raise
        finally:
            if not self.collector.closed:
                self.collector.finalize(handle.stream, handle.findings, fault=handle.fault)

    def _check(self, handle: StreamHandle) -> None:
        """Apply all checks. If any of them does not complete, the stream has a fault and no findings."""
        if self.shows_nothing(handle.exchange):
            return
        findings: list[Finding] = []
        if handle.exchange.ending is Ending.LIMIT:
            handle.fault = f"while reading it: {handle.exchange.ending_detail}"
            return
        handle.fault = "before it was checked"
        try:
            for check in handle.checks:
                self._yield_if_due()
                findings += check(handle.exchange)
        except _STOP_EXCEPTIONS:
            raise
        except BaseException as problem:
            handle.fault = f"while checking it: {problem!r}"
            raise
        handle.findings, handle.fault = findings, None

    def shows_nothing(self, exchange: Exchange) -> bool:
        """Whether a stream meets or breaks no rule, though it may fail.

        With a 429 or 503 the server did not look at the request; while it restarts, it cannot answer.
        """
        return exchange.is_throttled or self._excuses(exchange)

    def _yield_if_due(self) -> None:
        if self._may_yield:
            self._cpu_yield.yield_if_due()

    def check_stream(self, exchange: Exchange) -> list[Finding]:
        """The rules for every stream; nothing if no stream began."""
        if exchange.status != 200:
            return []
        findings: list[Finding] = []
        for rule in rules_for(exchange):
            self._yield_if_due()
            findings.append(rule(exchange, expect=self.target.expectations))
        return findings

    def random_cut(self, action_name: str, *, seen: int = 0) -> Cut:
        """A cut after a random event that is probably not the last, judging by earlier runs of the action.

        seen: the run's events that this stream will not repeat.
        """
        return Cut(self.random_event_index(action_name, seen=seen), self.rng.choice((CutHow.FIN, CutHow.RST)))

    def random_event_index(self, action_name: str, *, seen: int = 0) -> int:
        """The index, from 1, of a random event after the first `seen` that is probably not the run's last."""
        length = self.run_lengths.get(action_name, _DEFAULT_RUN_EVENTS)
        return self.rng.randint(1, max(1, length - 1 - seen))

    def slow_pace(self, action_name: str) -> Pace:
        """A pace so slow that the server must wait for the reader, but fast enough for the run's budgets.

        Judging by earlier runs of the action, reading takes a quarter of the run budget. What the kernel buffers,
        including the terminal event, takes a quarter of the closing budget.
        """
        budgets = self.target.expectations.budgets
        length = self.run_lengths.get(action_name, _DEFAULT_RUN_EVENTS)
        reads = max(1.0, length * _EVENT_BYTES / SLOW_READ_BYTES)
        close_s = budgets.terminal_close_s / _BUFFERED_READS
        pause_s = min(_LONGEST_PAUSE_S, budgets.run_s / 4 / reads, close_s / 4)
        return Pace(pause_s, SLOW_READ_BYTES)

    def record_shape(self, action_name: str, *parts: Exchange) -> None:
        """Remember how many events a run of the action has, and their times. parts: all streams of one run."""
        self.moments.record(action_name, parts[0])
        if parts[-1].ending is Ending.COMPLETE and parts[-1].outcome is not None:
            self.run_lengths[action_name] = len({event for part in parts for event in part.sequence})


def _no_check(_: Exchange) -> list[Finding]:
    """The answer before a run is not a stream."""
    return []


def _fault_of(problem: BaseException) -> str:
    return str(problem) if isinstance(problem, LocalResourceError) else f"while reading it: {problem!r}"


def check_delivery(run: Exchange) -> list[Finding]:
    """Whether the events of a run that this stream started came as they were made; a finding only if they did not."""
    return [headers.incremental(run)] if run.status == 200 and is_held_back(run) else []


class StreamGroup:
    """Streams of one journey that are checked together, once all have ended. A context manager.

    Leaving the block waits for streams that are still being read. If it is left by an exception, for example when
    its user is stopped, they are stopped too. Each stream is counted once in either case.

    compare: called at the end, also after an exception, with the streams that ended on their own; it adds checks
    that compare them. Set it before waiting: a stream that ended is never left uncompared.
    """

    def __init__(self, runner: StreamRunner, journey: str, intended_ns: int | None = None) -> None:
        self.handles: list[StreamHandle] = []
        self.compare: Callable[[list[StreamHandle]], None] | None = None
        self._runner = runner
        self._journey = journey
        self._intended_ns = intended_ns

    def start(
        self,
        step: StreamStep,
        request: HttpRequest | NewRun,
        *,
        check: StreamCheck | None = None,
        only_check: StreamCheck | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> StreamHandle:
        """Start a stream and return at once.

        check: applied in addition to the rules for every stream. only_check: replaces them. Raises
        CollectorClosedError when the test has ended.
        """
        handle = self._begin(step, request, check, only_check, cut, pace)
        handle.greenlet = gevent.spawn(self._runner.execute, handle)
        return handle

    def read(
        self,
        step: StreamStep,
        request: HttpRequest | NewRun,
        *,
        check: StreamCheck | None = None,
        only_check: StreamCheck | None = None,
        cut: Cut | None = None,
        pace: Pace | None = None,
    ) -> StreamHandle:
        """Run a stream to its end. Arguments and errors as in `start`."""
        handle = self._begin(step, request, check, only_check, cut, pace)
        self._runner.execute(handle)
        return handle

    def wait(self) -> list[Exchange]:
        """Wait until every stream has ended. Returns their exchanges in starting order."""
        for handle in self.handles:
            if handle.greenlet is not None:
                handle.greenlet.get()
        return [handle.exchange for handle in self.handles]

    def _begin(
        self,
        step: StreamStep,
        request: HttpRequest | NewRun,
        check: StreamCheck | None,
        only_check: StreamCheck | None,
        cut: Cut | None,
        pace: Pace | None,
    ) -> StreamHandle:
        intended_ns, self._intended_ns = self._intended_ns, None
        handle = self._runner.begin(
            self._journey, step, request, only_check=only_check, intended_ns=intended_ns, cut=cut, pace=pace
        )
        if check is not None:
            handle.checks.append(check)
        self.handles.append(handle)
        return handle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._stop_all()
            try:
                self._compare()
            finally:
                self._finalize_all()

    def _compare(self) -> None:
        ended = [
            handle
            for handle in self.handles
            if handle.unchecked and not self._runner.shows_nothing(handle.exchange)
        ]
        try:
            if self.compare is not None:
                self.compare(ended)
        except BaseException as problem:  # without the comparison they would wrongly look compared
            for handle in ended:
                handle.fault = f"while comparing it: {problem!r}"
            raise

    def _stop_all(self) -> None:
        gevent.killall([handle.greenlet for handle in self.handles if handle.greenlet is not None])
        for handle in self.handles:
            if not handle.live.finished:  # its greenlet was stopped before it ran
                self._runner.record_stop(handle)

    def _finalize_all(self) -> None:
        """Finalize every stream even if one raises, then raise the first exception."""
        first_problem: BaseException | None = None
        for handle in self.handles:
            try:
                self._runner.finalize(handle)
            except BaseException as problem:  # noqa: BLE001 - raised below
                first_problem = first_problem or problem
        if first_problem is not None:
            raise first_problem
