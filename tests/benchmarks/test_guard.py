"""Guards the harness's speed in CI, by ratios of two implementations measured in the same run.

A busy or slow machine affects both alike. They are measured in turns, in CPU time of the thread; the fastest round of
each counts, since it was disturbed least.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.contract.decoding.read_log import Read
from harness.contract.decoding.response import Response
from harness.transport.connecting import prepare_socket
from harness.transport.ready_sockets import NativeReads, PythonReads
from tests.benchmarks.target import compiler
from tests.benchmarks.test_decode import (
    EVENTS,
    _count_regular,
    _count_with_full_decoder,
    _harness,
    _httpx_sse,
)
from tests.contract.decoding.token_readers import token_reader_in_use
from tests.contract.exchanges import chunk, token
from tests.load.run_server import HEAD
from tests.transport.servers import connected

pytestmark = pytest.mark.benchmarks

ROUNDS = 15
MIN_REGULAR = 5.0
"""The load's fast path, without frame objects, against the full decoder; measured: 12."""

MIN_REGULAR_VS_HTTPX_SSE = 1.25
"""The fast path against httpx-sse, which does less; measured: 2.5."""

MIN_FULL_DECODER = 0.2
"""The full decoder against httpx-sse, which keeps less of each frame; measured: 0.35."""


MIN_NATIVE_READER = 1.4
"""The reader of sockets in C against the one in Python; measured: 2 to 2.8, most of it the kernel's own part."""

READ_SOCKETS = 100

MIN_TOKEN_READER = 2.0
"""Decoding with the reader of tokens in C against Python alone, one token in each read; measured: 4.4."""

TOKEN_READS = [Read(number, 0, chunk(token(number))) for number in range(EVENTS)]


def _cpu_ns(work: Callable[[], int], events: int) -> int:
    start_ns = time.thread_time_ns()
    count = work()
    cpu_ns = time.thread_time_ns() - start_ns
    assert count == events
    return cpu_ns


def _count_regular_tokens() -> int:
    return _count_regular() - 1  # without the terminal event


class Comparison:
    """Two implementations, measured in turns. prepare: called before each of them, and not measured."""

    def __init__(
        self,
        ours: Callable[[], int],
        other: Callable[[], int],
        events: int,
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        self._implementations = (ours, other)
        self._events = events
        self._prepare = prepare
        self.best_ns = [0, 0]

    def round(self) -> None:
        for number, implementation in enumerate(self._implementations):
            self._prepare()
            cpu_ns = _cpu_ns(implementation, self._events)
            self.best_ns[number] = min(self.best_ns[number] or cpu_ns, cpu_ns)

    @property
    def ratio(self) -> float:
        """CPU time of the other, divided by ours."""
        ours_ns, other_ns = self.best_ns
        return other_ns / ours_ns


def _run(benchmark: BenchmarkFixture, comparison: Comparison) -> float:
    benchmark.pedantic(comparison.round, rounds=ROUNDS, warmup_rounds=2)
    benchmark.extra_info["ratio"] = comparison.ratio
    return comparison.ratio


@pytest.mark.benchmark(group="guard: fast path and full decoder")
def test_the_fast_path_is_much_faster_than_the_full_decoder(benchmark: BenchmarkFixture) -> None:
    ratio = _run(benchmark, Comparison(_count_regular, _count_with_full_decoder, EVENTS + 1))
    assert ratio >= MIN_REGULAR, f"{ratio:.1f} times as fast, must be {MIN_REGULAR:g}"


@pytest.mark.benchmark(group="guard: fast path and httpx-sse")
def test_the_fast_path_is_faster_than_httpx_sse(benchmark: BenchmarkFixture) -> None:
    ratio = _run(benchmark, Comparison(_count_regular_tokens, _httpx_sse, EVENTS))
    assert ratio >= MIN_REGULAR_VS_HTTPX_SSE, (
        f"{ratio:.2f} times as fast, must be {MIN_REGULAR_VS_HTTPX_SSE:g}"
    )


@pytest.mark.benchmark(group="guard: full decoder and httpx-sse")
def test_the_full_decoder_is_not_too_slow(benchmark: BenchmarkFixture) -> None:
    ratio = _run(benchmark, Comparison(_harness, _httpx_sse, EVENTS))
    assert ratio >= MIN_FULL_DECODER, f"{ratio:.2f} times as fast, must be {MIN_FULL_DECODER:g}"


@pytest.mark.benchmark(group="guard: reader in C and in Python")
@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_the_native_reader_is_faster(benchmark: BenchmarkFixture) -> None:
    native, python = NativeReads(select.epoll()), PythonReads(select.epoll())
    with ExitStack() as stack:
        peers = []
        for _ in range(READ_SOCKETS):
            ours, peer = stack.enter_context(connected())
            prepare_socket(ours)
            native.add(ours)
            python.add(ours)
            peers.append(peer)

        def send() -> None:
            for peer in peers:
                peer.sendall(b"x" * 120)

        comparison = Comparison(
            lambda: len(native.read(1 << 20)[0]), lambda: len(python.read(1 << 20)[0]), READ_SOCKETS, send
        )
        ratio = _run(benchmark, comparison)
    assert ratio >= MIN_NATIVE_READER, f"{ratio:.2f} times as fast, must be {MIN_NATIVE_READER:g}"


def _count_tokens(kind: str) -> int:
    with token_reader_in_use(kind):
        response = Response()
    response.feed(0, 0, HEAD)
    for read in TOKEN_READS:
        response.feed(*read)
    return response.events


@pytest.mark.benchmark(group="guard: tokens in C and in Python")
@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_the_native_reader_of_tokens_is_faster(benchmark: BenchmarkFixture) -> None:
    comparison = Comparison(lambda: _count_tokens("native"), lambda: _count_tokens("python"), EVENTS)
    ratio = _run(benchmark, comparison)
    assert ratio >= MIN_TOKEN_READER, f"{ratio:.2f} times as fast, must be {MIN_TOKEN_READER:g}"


def test_the_guard_can_fail() -> None:
    """It notices the full decoder in place of the fast path."""
    comparison = Comparison(_count_with_full_decoder, _count_with_full_decoder, EVENTS + 1)
    for _ in range(3):
        comparison.round()
    assert comparison.ratio < MIN_REGULAR / 2
