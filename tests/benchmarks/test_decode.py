"""How fast streams are decoded and judged: read the ratios within a group, not the times."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from pytest_benchmark.fixture import BenchmarkFixture

from harness.contract.evidence import document, restore
from harness.contract.expectations import Expectations
from harness.contract.finding import Verdict
from harness.contract.judges import judge_stream
from harness.protocol.sse import SseDecoder
from tests.contract.exchanges import whole_run

pytestmark = pytest.mark.benchmarks

EVENTS = 500
STREAM = "".join(
    f"id: 1700000000000-{number}\ndata: {json.dumps({'type': 'token', 'content': 'tok '})}\n\n"
    for number in range(EVENTS)
).encode()
PACKET = 1460
PACKETS = [STREAM[at : at + PACKET] for at in range(0, len(STREAM), PACKET)]


def _harness() -> int:
    decoder = SseDecoder()
    return sum(len(decoder.feed(packet)) for packet in PACKETS)


def _httpx_sse() -> int:
    cutter, decoder = SSELineDecoder(), SSEDecoder()
    lines = (line for packet in PACKETS for line in cutter.decode(packet.decode()))
    return sum(decoder.decode(line) is not None for line in lines)


@pytest.mark.benchmark(group="decode 500 events in packets")
@pytest.mark.parametrize("decode", [_harness, _httpx_sse], ids=["harness", "httpx-sse"])
def test_decoding(benchmark: BenchmarkFixture, decode: Callable[[], int]) -> None:
    assert benchmark(decode) == EVENTS


@pytest.mark.benchmark(group="judge a stream of 41 events by every rule that applies to one stream")
def test_judging(benchmark: BenchmarkFixture) -> None:
    stored = document(whole_run(tokens=40), base_url="http://h")

    def decode_and_judge() -> set[Verdict]:
        return {finding.verdict for finding in judge_stream(restore(stored), Expectations())}

    assert Verdict.FAIL not in benchmark(decode_and_judge)
