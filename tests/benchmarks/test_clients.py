"""The compared clients read their streams completely; short runs of the real clients."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import pytest

from tests.benchmarks.clients import CLIENTS, OURS, SETTINGS, Client, ClientError, environment, measure
from tests.benchmarks.target import Rhythm, Target, running_target
from tests.forked_process import Forking

pytestmark = pytest.mark.slow

STREAMS = 5
RHYTHM = Rhythm(tokens=20, first_token_us=50_000, gap_us=20_000)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locust is forked, and the streams have less time to settle."""
    monkeypatch.setattr("tests.benchmarks.clients.subprocess", Forking)
    monkeypatch.setattr("tests.benchmarks.clients._SETTLE_S", 0.3)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with running_target(RHYTHM, lifetime_s=120) as target:
        yield target


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_reads_its_streams_to_the_end(target: Target, client: Client) -> None:
    sample = measure(
        client,
        target,
        streams=STREAMS,
        window_s=2,
        ramp_s=1,
        more={"BENCH_CHECK_EVERY": "1", "BENCH_BUSY": "0.2"},
    )
    assert sample.problem is None
    assert sample.truth["first_token_us"]["count"] > 0
    assert 0 < sample.open_streams <= STREAMS
    assert sample.rss_bytes > 10 * 2**20
    assert sample.cpu_us_per_event > 0
    assert sample.ttft_ms["p50"] >= 50
    assert sample.lag_ms["count"] > STREAMS
    if client is OURS:
        assert sample.lag_by_send_ms is not None
        assert sample.kernel_error_ms is not None
        assert sample.lag_by_send_ms["count"] > sample.kernel_error_ms["count"] > 0
        # On the loopback the kernel timestamps a segment during the target's send.
        assert sample.kernel_error_ms["p50"] < 5


def _script(text: str) -> Client:
    return Client("scripted", lambda base_url, *_: [sys.executable, "-c", f"base_url = {base_url!r}\n{text}"])


def test_a_crashed_client_is_reported_with_its_output(target: Target) -> None:
    client = _script("import sys; sys.exit('no such thing')")
    with pytest.raises(ClientError, match=r"scripted: exited with code 1; end of its output:\nno such thing"):
        measure(client, target, streams=1, window_s=1, ramp_s=1)


_DROPS_STREAMS = """
import signal, socket, time
from tests.benchmarks.stock.recorder import Recorder
recorder = Recorder()
recorder.listen()
while True:
    with socket.create_connection(("127.0.0.1", int(base_url.rpartition(":")[2]))) as sock:
        sock.sendall(b"POST /agent/workflow-actions HTTP/1.1\\r\\nContent-Length: 0\\r\\n\\r\\n")
        sock.recv(100)
        time.sleep(0.2)
    recorder.ended(1)
"""


def test_closing_streams_before_their_end_is_a_problem(target: Target) -> None:
    sample = measure(_script(_DROPS_STREAMS), target, streams=1, window_s=1, ramp_s=1)
    assert sample.problem is not None
    assert re.fullmatch(
        r"it closed \d+ streams? before the end; it read (\d+) events? in \1 streams?", sample.problem
    )


_CONTINUES = f"""
import sys
sys.stderr.write("Traceback (most recent call last):\\n  File x\\n    do()\\nKeyError: 'type'\\n")
{_DROPS_STREAMS.replace("time.sleep(0.2)", "time.sleep(1)")}"""


def test_an_exception_is_a_problem_even_if_the_client_continues(target: Target) -> None:
    sample = measure(_script(_CONTINUES), target, streams=1, window_s=1, ramp_s=1)
    assert sample.problem is not None
    assert sample.problem.startswith("it printed \"KeyError: 'type'\"; ")


def test_the_python_target() -> None:
    with running_target(RHYTHM, kind="python", lifetime_s=60) as target:
        sample = measure(CLIENTS[1], target, streams=STREAMS, window_s=1, ramp_s=1)
    assert sample.problem is None
    assert sample.truth["lateness_us"]["count"] > STREAMS


def test_a_client_does_not_inherit_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_LOAD__USERS", "3")
    monkeypatch.setenv("BENCH_BUSY", "1")
    variables = environment({"BENCH_OUT": "x"})
    assert {name for name in variables if name.startswith(("HARNESS_", "BENCH_"))} == {"BENCH_OUT", *SETTINGS}
    assert variables["HARNESS_TARGET__TOKEN"] == "demo-token"
    assert "PATH" in variables
