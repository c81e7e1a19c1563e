"""Speed of decoding and checking streams. Compare the ratios within a group, not the times."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from pytest_benchmark.fixture import BenchmarkFixture

from harness.contract.decoding.full_decoder import FullDecoder
from harness.contract.decoding.read_log import Read
from harness.contract.decoding.response import Response
from harness.contract.evidence.document import document, restore
from harness.contract.expectations import Expectations
from harness.contract.finding import Verdict
from harness.contract.rules.stream import check_stream
from harness.protocol.sse import SseDecoder
from tests.contract.exchanges import chunk, whole_run
from tests.load.run_server import HEAD

pytestmark = pytest.mark.benchmarks

EVENTS = 500
STREAM = "".join(
    f"id: 1700000000000-{number}\ndata: {json.dumps({'type': 'token', 'content': 'tok '})}\n\n"
    for number in range(EVENTS)
).encode()
LAST = b'id: 1700000000001-0\ndata: {"type": "done", "runId": "r"}\n\n'
READS = [
    Read(1, 0, HEAD + b"".join(chunk(frame + b"\n\n") for frame in STREAM.split(b"\n\n")[:-1])),
    Read(2, 0, chunk(LAST) + b"0\r\n\r\n"),
]
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


def _count_regular() -> int:
    return Response.from_reads(READS, connection_ended=False).summary.events


def _count_with_full_decoder() -> int:
    return Response.from_reads(READS, connection_ended=False, decoder=FullDecoder()).summary.events


@pytest.mark.benchmark(group="read a response of 501 events with and without frame objects")
@pytest.mark.parametrize("count", [_count_regular, _count_with_full_decoder], ids=["regular", "full decoder"])
def test_reading(benchmark: BenchmarkFixture, count: Callable[[], int]) -> None:
    assert Response.from_reads(READS, connection_ended=False).is_regular
    assert benchmark(count) == EVENTS + 1


@pytest.mark.benchmark(group="check a stream of 41 events against every single-stream rule")
def test_checking(benchmark: BenchmarkFixture) -> None:
    stored = document(whole_run(tokens=40), base_url="http://h")

    def decode_and_check() -> set[Verdict]:
        return {finding.verdict for finding in check_stream(restore(stored), Expectations())}

    assert Verdict.FAIL not in benchmark(decode_and_check)
