from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import example, given, strategies

from harness.contract.decoding.read_log import Read
from harness.contract.exchange import Ending, Exchange, Timing
from harness.contract.finding import Finding, Verdict
from harness.load.stats.stream_metrics import (
    CONFLICTING,
    CUT,
    ORIGINAL,
    RESUMED,
    RETRY,
    RUN,
    SLOW,
    StreamStep,
    TimedValues,
    broken_requirements,
    by_second,
    failure_kind,
    failure_reason,
    measure,
    outcome_of,
)
from harness.profiles import library
from harness.protocol.request import HttpRequest
from harness.results.metrics import LEAST_RATE_MS
from harness.run_clock import RUN_CLOCK
from tests.load.run_server import HEAD

MS = 1_000_000
WALL = 1_700_000_000_000_000_000
HEAD_409 = b"HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(autouse=True)
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is WALL when a request is sent."""
    monkeypatch.setattr(RUN_CLOCK, "_offset_ns", WALL - 20 * MS)


def frame(**event: object) -> bytes:
    data = f"data: {json.dumps(event)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


TOKEN = frame(type="token", content="x")
EMPTY_TOKEN = frame(type="token", content="")
DONE = frame(type="done", runId="r")
END = b"0\r\n\r\n"


def exchange(
    *reads: tuple[float, bytes],
    ending: Ending = Ending.COMPLETE,
    detail: str = "",
    sent: bool = True,
    intended_ms: float = 0,
    lag_ms: float | None = 0.5,
    profile: str = "workflow-actions",
) -> Exchange:
    """One whose start is at 10 ms, connection at 12 ms, sending at 20 ms; reads are (ms, bytes)."""
    timing = Timing(
        intended_ns=int(intended_ms * MS) or 10 * MS,
        started_ns=10 * MS,
        connected_ns=12 * MS if sent else None,
        sent_ns=20 * MS if sent else None,
        sent_wall_ns=WALL if sent else None,
        ended_ns=500 * MS,
    )
    lag_ns = None if lag_ms is None else int(lag_ms * MS)
    return Exchange(
        "run",
        HttpRequest("POST", "/", (), b""),
        timing,
        tuple(Read(int(at_ms * MS), lag_ns, data) for at_ms, data in reads),
        ending,
        detail,
        profile=library.load(profile),
    )


@pytest.mark.parametrize(
    ("reads", "ending", "outcome"),
    [
        ([(30, HEAD + TOKEN + DONE + END)], Ending.COMPLETE, "done"),
        ([(30, HEAD + frame(type="error") + END)], Ending.COMPLETE, "error"),
        ([(30, HEAD + frame(type="cancelled") + END)], Ending.COMPLETE, "cancelled"),
        ([(30, HEAD + frame(type="error", code=409) + END)], Ending.COMPLETE, "error"),
        ([(30, HEAD + TOKEN + frame(type="error", code=409) + END)], Ending.COMPLETE, "error"),
        ([(30, HEAD_409)], Ending.COMPLETE, "rejected"),
        ([(30, b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")], Ending.COMPLETE, "rejected"),
        ([(30, HEAD + TOKEN + END)], Ending.COMPLETE, "truncated"),
        ([(30, HEAD + END)], Ending.COMPLETE, "truncated"),
        ([(30, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")], Ending.COMPLETE, "truncated"),
        ([(30, HEAD + TOKEN + DONE)], Ending.TRUNCATED, "truncated"),
        ([(30, HEAD + TOKEN)], Ending.RESET, "truncated"),
        ([(30, HEAD + TOKEN + DONE)], Ending.RESET, "done"),
        ([], Ending.RESET, "truncated"),
        ([(30, HEAD + TOKEN)], Ending.MALFORMED, "truncated"),
        ([(30, HEAD + TOKEN + DONE)], Ending.TIMED_OUT, "timed out"),
        ([(30, HEAD + TOKEN)], Ending.CUT, "abandoned"),
        ([], Ending.REFUSED, "refused"),
    ],
)
def test_the_ledger_outcome(reads: list[tuple[float, bytes]], ending: Ending, outcome: str) -> None:
    assert outcome_of(exchange(*reads, ending=ending), RUN) == outcome


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (frame(type="error", code=409), "rejected"),
        (frame(type="error", status="409", message="key used"), "rejected"),
        (frame(type="error", code=500, message="the calendar service answered 409"), "error"),
        (frame(type="error", code="calendar_409"), "error"),
        (frame(type="error", runId="run-409"), "error"),
    ],
)
def test_only_a_used_key_can_be_rejected_with_an_event(event: bytes, outcome: str) -> None:
    failed = exchange((30, HEAD + event + END))
    assert outcome_of(failed, CONFLICTING) == outcome
    assert {outcome_of(failed, step) for step in (RUN, ORIGINAL, CUT, RETRY, RESUMED)} == {"error"}


def test_a_stopped_stream_has_no_outcome() -> None:
    with pytest.raises(ValueError, match="stopped"):
        outcome_of(exchange(ending=Ending.STOPPED), RUN)


def finding(requirement: str, verdict: Verdict = Verdict.FAIL, detail: str = "one\ntwo") -> Finding:
    return Finding(requirement, verdict, detail)


@pytest.mark.parametrize(
    ("step", "outcome", "broken", "reason", "kind"),
    [
        (RUN, "done", [], None, None),
        (CUT, "abandoned", [], None, None),
        (CUT, "done", [], None, None),
        (CONFLICTING, "rejected", [], None, None),
        (RUN, "abandoned", [], "ended with abandoned, expected done", ...),
        (RETRY, "error", [], "ended with error, expected done", ...),
        (RUN, "rejected", [], "rejected with status 200, expected done", ...),
        (CONFLICTING, "done", [], "ended with done, expected rejected", ...),
        (RUN, "truncated", [finding("terminal.always")], "truncated: gone", ...),
        (CUT, "truncated", [], "truncated: gone", ...),
        (CONFLICTING, "timed out", [], "timed out: gone", ...),
        (RUN, "refused", [], "refused: gone", ...),
        (RUN, "done", [finding("ids.unique"), finding("ids.increasing")], "ids.unique: one two", "both"),
    ],
)
def test_why_it_failed(
    step: StreamStep, outcome: str, broken: list[Finding], reason: str | None, kind: object
) -> None:
    one = exchange((30, HEAD + TOKEN), detail="gone")
    assert failure_reason(one, outcome, step, broken) == reason
    expected = {"both": "violates ids.unique, ids.increasing", ...: reason, None: None}[kind]  # type: ignore[index]
    assert failure_kind(one, outcome, step, broken) == expected


def test_a_response_without_a_terminal_event_says_so() -> None:
    one = exchange((30, HEAD + TOKEN + END))
    assert (
        failure_reason(one, "truncated", RUN, []) == "truncated: the response ended without a terminal event"
    )


def test_a_reason_is_bounded() -> None:
    reason = failure_reason(exchange(), "done", RUN, [finding("ids.unique", detail="x" * 10_000)])
    assert reason is not None
    assert len(reason) == 501


def test_only_a_broken_must_is_broken() -> None:
    findings = [finding("a", Verdict.WARN), finding("b"), finding("b"), finding("c", Verdict.INCONCLUSIVE)]
    assert [finding.requirement for finding in broken_requirements(findings)] == ["b"]


WHOLE = (
    (30.0, HEAD),
    (50.0, EMPTY_TOKEN),
    (60.0, TOKEN),
    (75.0, TOKEN + TOKEN),
    (135.0, TOKEN),
    (150.0, DONE + END),
)


def by_second_ms(*values: TimedValues | None) -> dict[int, list[float]]:
    return {
        second: of_second.tolist()
        for second, of_second in by_second([one for one in values if one is not None]).items()
    }


def test_the_metrics_of_a_run() -> None:
    measured = measure(exchange(*WHOLE, intended_ms=4), RUN, "done", scheduled=True)
    assert measured.values == {
        "connect_ms": 2,
        "schedule_lag_ms": 6,
        "arrival_error_ms": 0,
        "head_ms": 10,
        "first_event_ms": 46,
        "ttft_ms": 56,
        "service_ttft_ms": 40,
        "duration_ms": 146,
        "tpot_ms": 30,  # 90 ms from the first token to the end, for the three tokens after it
        "stall_ms": 60,
        "tokens_per_s": 40,  # three after the first, in 75 ms
        # Without 6 ms of schedule lag and 8 ms from the connection to the send:
        "net_first_event_ms": 32,
        "net_ttft_ms": 42,
        "net_duration_ms": 132,
    }
    second = WALL // 1_000_000_000
    assert by_second_ms(measured.gaps) == {second: [15, 60]}
    assert (measured.events, measured.tokens, measured.coalesced) == (6, 4, 1)
    assert by_second_ms(measured.lags) == {second: [0.5] * 6}
    assert (measured.stamped, measured.unstamped) == (6, 0)


def test_the_arrival_error_is_that_of_what_is_measured_from_single_arrivals() -> None:
    def with_errors(**errors_ms: float) -> Exchange:
        run = exchange(*WHOLE)
        errors_ns = {int(float(at.removeprefix("at_")) * MS): int(ms * MS) for at, ms in errors_ms.items()}
        reads = tuple(read._replace(error_ns=errors_ns.get(read.arrival_ns, 0)) for read in run.reads)
        return replace(run, reads=reads)

    def error_ms(step: StreamStep = RUN, **errors_ms: float) -> float | None:
        return measure(with_errors(**errors_ms), step, "done", scheduled=False).values.get("arrival_error_ms")

    assert error_ms() == 0
    assert error_ms(at_75=5) == 0  # in the middle: of no single arrival
    assert [error_ms(at_30=3), error_ms(at_50=4), error_ms(at_60=5), error_ms(at_150=6)] == [3, 4, 5, 6]
    assert error_ms(SLOW, at_30=3) is None
    noise = exchange((30.0, b"x" * 100), (50.0, b"x" * 100), ending=Ending.MALFORMED)
    reads = tuple(read._replace(error_ns=MS) for read in noise.reads)
    values = measure(replace(noise, reads=reads), RUN, "truncated", scheduled=False).values
    assert values["arrival_error_ms"] == 0, "nothing was measured from these arrivals"
    measured = measure(with_errors(at_75=5), RUN, "done", scheduled=False)
    assert by_second_ms(measured.lags) == {WALL // 1_000_000_000: [0.5, 0.5, 0.5, 5.5, 0.5, 0.5]}


@pytest.mark.parametrize(
    ("last_ms", "rate"),
    [
        (50.02, None),  # 100,000 tokens/s, as of an answer that was ready before it was sent
        (59.9, None),
        (60.0, 200),
        (450.0, 5),
    ],
)
def test_tokens_that_were_ready_before_they_were_sent_have_no_rate(
    last_ms: float, rate: float | None
) -> None:
    reads = ((30.0, HEAD), (50.0, TOKEN), (50.01, TOKEN), (last_ms, TOKEN), (500.0, DONE + END))
    measured = measure(exchange(*reads), RUN, "done", scheduled=False)
    assert measured.values.get("tokens_per_s") == (None if rate is None else pytest.approx(rate))
    assert "stall_ms" in measured.values  # the gaps are known all the same
    assert sum(map(len, by_second_ms(measured.gaps).values())) == 2


def test_arrivals_belong_to_their_own_second() -> None:
    late = [(30.0, HEAD + TOKEN), (1030.0, TOKEN), (2030.0, DONE + END)]
    measured = measure(exchange(*late), RUN, "done", scheduled=False)
    assert by_second_ms(measured.gaps) == {WALL // 10**9 + 1: [1000]}
    assert [second - WALL // 10**9 for second in by_second_ms(measured.lags)] == [0, 1, 2]


def test_the_values_of_many_streams_are_sorted_by_second_together() -> None:
    many = [
        measure(
            exchange((30.0, HEAD + TOKEN), (at_ms, TOKEN), (2030.0, DONE + END)), RUN, "done", scheduled=False
        )
        for at_ms in (1030.0, 530.0, 1530.0)
    ]
    first = WALL // 10**9
    assert by_second_ms(*(one.gaps for one in many)) == {first: [500], first + 1: [1000, 1500]}


@pytest.mark.parametrize(("step", "extra"), [(RETRY, {}), (RESUMED, {"resume_ms": 30})])
def test_a_replay_has_no_run_metrics(step: StreamStep, extra: dict[str, float]) -> None:
    measured = measure(exchange(*WHOLE), step, "done", scheduled=False)
    assert measured.values == {"connect_ms": 2, "arrival_error_ms": 0, "head_ms": 10, **extra}
    assert by_second_ms(measured.gaps) == {}
    assert measured.coalesced == 0
    assert sum(map(len, by_second_ms(measured.lags).values())) == 6


def test_the_metrics_of_a_cut_run() -> None:
    measured = measure(exchange(*WHOLE[:4], ending=Ending.CUT), CUT, "abandoned", scheduled=False)
    assert measured.values["ttft_ms"] == 50
    assert measured.values["stall_ms"] == 15
    assert "duration_ms" not in measured.values


@pytest.mark.parametrize("form", [HEAD_409, HEAD + frame(type="error", code=409) + END])
def test_a_rejection(form: bytes) -> None:
    measured = measure(exchange((33, form)), CONFLICTING, "rejected", scheduled=False)
    assert measured.values == {"connect_ms": 2, "arrival_error_ms": 0, "head_ms": 13, "conflict_ms": 13}


def test_a_rejected_run_has_no_run_metrics() -> None:
    measured = measure(exchange((33, HEAD_409)), ORIGINAL, "rejected", scheduled=False)
    assert measured.values == {"connect_ms": 2, "arrival_error_ms": 0, "head_ms": 13}


def test_a_request_that_was_not_sent_has_no_metrics() -> None:
    measured = measure(exchange(sent=False, ending=Ending.REFUSED), RUN, "refused", scheduled=False)
    assert measured.values == {}


def test_reads_without_a_kernel_stamp_are_counted() -> None:
    measured = measure(exchange(*WHOLE, lag_ms=None), RUN, "done", scheduled=False)
    assert (measured.stamped, measured.unstamped, by_second_ms(measured.lags)) == (0, 6, {})


def test_a_run_whose_tokens_came_in_one_read_had_no_stall() -> None:
    """Without a value, the median would be that of the slow runs whenever short answers came in one read."""
    together = measure(exchange((30, HEAD + TOKEN + TOKEN + DONE + END)), RUN, "done", scheduled=True)
    assert (together.values["stall_ms"], together.coalesced) == (0, 1)
    single = measure(exchange((30, HEAD + TOKEN + DONE + END)), RUN, "done", scheduled=True)
    assert "stall_ms" not in single.values


def test_no_latency_is_negative() -> None:
    measured = measure(exchange((19.9, HEAD + TOKEN + DONE + END)), RUN, "done", scheduled=False)
    assert measured.values["head_ms"] == 0
    assert measured.values["service_ttft_ms"] == 0


@example(
    stamps_us=[60_000, 59_995]
)  # two stamps of one clock, converted with an offset that was measured again
@example(stamps_us=[60_000, 59_995, 60_000])
@example(stamps_us=[60_000, 59_995, 1_060_000, 1_059_995])
@given(strategies.lists(strategies.integers(0, 3_000_000), min_size=1, max_size=12))
def test_stamps_in_any_order_give_gaps_of_zero_or_more(stamps_us: list[int]) -> None:
    stamps_ms = [stamp_us / 1000 for stamp_us in stamps_us]
    reads = [(0.0, HEAD), *((stamp_ms, TOKEN) for stamp_ms in stamps_ms), (4000.0, DONE + END)]
    measured = measure(exchange(*reads), RUN, "done", scheduled=True)
    gaps_ms = [gap_ms for gaps in by_second_ms(measured.gaps).values() for gap_ms in gaps]
    assert all(gap_ms > 0 for gap_ms in gaps_ms)
    assert len(gaps_ms) + measured.coalesced == len(stamps_ms) - 1
    assert math.isclose(sum(gaps_ms), max(stamps_ms) - stamps_ms[0], abs_tol=1e-3)
    assert all(math.isfinite(value) and value >= 0 for value in measured.values.values())
    assert sum(map(len, by_second_ms(measured.lags).values())) == len(reads)
    assert measured.values.get("stall_ms") == (max(gaps_ms, default=0) if len(stamps_ms) > 1 else None)
    spread_ms = (max(stamps_us) - stamps_us[0]) / 1000
    assert ("tokens_per_s" in measured.values) is (spread_ms >= LEAST_RATE_MS)


def chat(delta: object = None, reason: str | None = None, **usage: object) -> bytes:
    """A chunk of OpenAI's chat completions."""
    choices = [] if delta is None else [{"delta": delta, "finish_reason": reason}]
    return frame(id="c", object="chat.completion.chunk", choices=choices, usage=usage or None)


LAST = b"e\r\ndata: [DONE]\n\n\r\n" + END
SAID = {"content": "several tokens at once"}


def measured_chat(
    *reads: tuple[float, bytes], outcome: str = "done", profile: str = "openai-chat"
) -> dict[str, float]:
    return measure(exchange(*reads, profile=profile), RUN, outcome, scheduled=False).values


def test_signs_of_work_have_their_own_times() -> None:
    values = measured_chat(
        (30.0, HEAD + chat({"role": "assistant", "content": ""})),
        (40.0, chat({"reasoning_content": "hm"})),
        (45.0, chat({"reasoning_content": "so"})),
        (60.0, chat({"tool_calls": [{"index": 0}]})),
        (80.0, chat(SAID)),
        (90.0, chat({}, "stop") + LAST),
    )
    assert {name: value for name, value in values.items() if name.startswith("ttf")} == {
        "ttf_reasoning_ms": 30,  # since the intended start at 10 ms
        "ttf_tool_ms": 50,
        "ttft_ms": 70,
    }
    assert values["net_ttf_reasoning_ms"] == 22  # without 8 ms from the connection to the send
    steps = (frame(type="RUN_STARTED", runId="r"), frame(type="STEP_STARTED", stepName="s"))
    agent = measured_chat((30.0, HEAD + steps[0]), (42.0, steps[1]), outcome="truncated", profile="ag-ui")
    assert (agent["ttf_progress_ms"], agent["first_event_ms"]) == (32, 20)
    assert "ttf_reasoning_ms" not in agent


@pytest.mark.parametrize(
    ("extra", "usage", "tpot_ms", "rate"),
    [
        ((), {"completion_tokens": 21}, 5, 21 / 0.14),
        ((), {"completion_tokens": 21, "completion_tokens_details": {"reasoning_tokens": 10}}, 10, 21 / 0.14),
        (({"reasoning_content": "hm"},), {"completion_tokens": 21}, None, 21 / 0.14),
        (
            ({"reasoning_content": "hm"},),
            {"completion_tokens": 21, "completion_tokens_details": {"reasoning_tokens": 16}},
            25,
            21 / 0.14,
        ),
        (({"tool_calls": [{"index": 0}]},), {"completion_tokens": 21}, None, 21 / 0.14),
        ((), {"completion_tokens": 1}, None, 1 / 0.14),
        ((), {}, None, None),
    ],
)
def test_tokens_are_those_that_the_api_counts(
    extra: tuple[object, ...], usage: dict[str, object], tpot_ms: float | None, rate: float | None
) -> None:
    """The first token comes at 60 ms and the end at 160 ms; the request was sent at 20 ms."""
    values = measured_chat(
        (30.0, HEAD + b"".join(map(chat, extra)) if extra else HEAD),
        (60.0, chat(SAID)),
        (110.0, chat(SAID)),
        (160.0, chat({}, "stop", **usage) + LAST),
    )
    assert values.get("tpot_ms") == (None if tpot_ms is None else pytest.approx(tpot_ms))
    assert values.get("output_tokens_per_s") == (None if rate is None else pytest.approx(rate))
    assert values["stall_ms"] == 50


def test_a_run_that_failed_has_no_output_metrics() -> None:
    values = measured_chat(
        (30.0, HEAD + chat(SAID, completion_tokens=1)),
        (60.0, chat(SAID, completion_tokens=9)),
        (90.0, frame(error={"message": "no"}) + LAST),
        outcome="error",
    )
    assert "duration_ms" in values
    assert not {"tpot_ms", "output_tokens_per_s"} & values.keys()


def test_the_arrival_error_covers_the_first_signs_of_work() -> None:
    run = exchange(
        (30.0, HEAD), (50.0, chat({"reasoning_content": "hm"})), (70.0, chat(SAID)), profile="openai-chat"
    )
    reads = tuple(read._replace(error_ns=4 * MS if read.arrival_ns == 50 * MS else 0) for read in run.reads)
    # A later event with reasoning is not the first one, and no number depends on it.
    later = exchange(
        (30.0, HEAD + chat({})),
        (40.0, chat({"reasoning_content": "a"})),
        (50.0, chat({"reasoning_content": "b"})),
        profile="openai-chat",
    )
    late = tuple(read._replace(error_ns=4 * MS if read.arrival_ns == 50 * MS else 0) for read in later.reads)
    found = [
        measure(replace(one, reads=of), RUN, "truncated", scheduled=False).values["arrival_error_ms"]
        for one, of in ((run, reads), (later, late))
    ]
    assert found == [4, 0]
