"""The rules for single streams, applied to recorded answers of other APIs: which of them fail, and why."""

from __future__ import annotations

from harness.contract.decoding.read_log import Read
from harness.contract.exchange import Ending, Exchange, Timing
from harness.contract.expectations import Expectations
from harness.contract.finding import Verdict
from harness.contract.rules.stream import STREAM_RULES, rules_for
from harness.profiles import library
from harness.protocol.request import HttpRequest
from tests.cases import all_cases
from tests.profiles.background import background
from tests.profiles.test_captures import CAPTURES, CLEAN, DEFECTS, answer

_SENT_NS = 50_000_000_000
_RULES = {rule.requirement.id: rule for rule in STREAM_RULES}

_NO_IDS = {"ids.present": "event 1 has no id, so a client cannot resume after it"}
_END_WITHOUT_ID = {"ids.present": "has no id, so a client cannot resume after it"}

#: By server, or by capture: the MUSTs that the stream breaks, and what the findings say.
BROKEN: dict[str, dict[str, str]] = {
    "agno/success-inline": _NO_IDS,  # ids are only promised for background runs
    "agno/cancelled": {
        "events.whole-text": "event 11 (id 10) has the whole text ",
        "terminal.exactly-one": "2 terminal events: cancelled, done",
        "terminal.last": "event 11 (id 10) follows the terminal event",
    },
    "aimock-responses": _NO_IDS,
    "litellm-responses": _NO_IDS,
    "frs": _END_WITHOUT_ID,
    "frs/cut": {},
    "frs/error-mid": {
        "terminal.always": "the stream ended without a terminal event: status 200 with 3 events",
        "terminal.exactly-one": "no terminal event: status 200 with 3 events",
    },
    "langgraph/success-all-modes": {
        "ids.unique": "appears twice in one stream",
        "ids.increasing": "id 1795967081691-0 follows 1795967081691-0",
    },
    "mcp/resumed-bad-id": {"terminal.always": "the stream ended without a terminal event"},
}
#: Of streams that a resumption brought.
_AFTER_9 = HttpRequest("POST", "/agents/a/runs/r/resume", (), b"last_event_index=9&session_id=s")
_AFTER_25 = HttpRequest("GET", "/v1/responses/r?stream=true&starting_after=25", ())
REQUESTS = {
    "agno/cut-resumed": _AFTER_9,
    "agno/resumed-after-end": _AFTER_9,
    "agentserver/cut-resumed": _AFTER_25,
}
_STREAMS = [(profile, capture) for profile, capture, *_ in (*CLEAN, *DEFECTS)]


def recorded(profile: str, capture: str, request: HttpRequest | None = None) -> Exchange:
    """A capture as an Exchange. It was recorded without arrival times: it arrived in one read, after 1 ms."""
    data = (CAPTURES / f"{capture}.http").read_bytes()
    ms = 1_000_000
    return Exchange(
        label=capture,
        request=request or HttpRequest("POST", "/", ()),
        timing=Timing(_SENT_NS, _SENT_NS, _SENT_NS, _SENT_NS, 1_795_967_000_000 * ms, _SENT_NS + 2 * ms),
        reads=(Read(_SENT_NS + ms, 1000, data),),
        ending=Ending.COMPLETE if answer(capture).is_complete else Ending.CUT,
        ending_detail="",
        profile=background() if capture.startswith("agentserver/") else library.load(profile),
    )


@all_cases(("profile", "capture"), _STREAMS)
def test_only_defects_break_a_must(profile: str, capture: str) -> None:
    run = recorded(profile, capture, REQUESTS.get(capture))
    findings = [rule(run, expect=Expectations()) for rule in rules_for(run)]
    broken = {finding.requirement: finding.detail for finding in findings if finding.verdict is Verdict.FAIL}
    expected = BROKEN.get(capture, BROKEN.get(capture.partition("/")[0], {}))
    assert broken.keys() == expected.keys()
    for name, detail in expected.items():
        assert detail in broken[name]


@all_cases(
    ("profile", "capture"), [row for row in _STREAMS if row[1].endswith("/success") and row[0] != "langgraph"]
)
def test_a_successful_run_decides_every_rule_that_applies(profile: str, capture: str) -> None:
    run = recorded(profile, capture)
    assert (run.outcome, run.ending) == ("done", Ending.COMPLETE)
    undecided = [
        rule.requirement.id
        for rule in rules_for(run)
        if rule(run, expect=Expectations()).verdict is Verdict.INCONCLUSIVE
    ]
    no_ids = ["ids.unique", "ids.increasing"]
    lacks = {"aimock-responses": no_ids, "litellm-responses": no_ids, "aimock-gemini": ["run-id.single"]}
    assert undecided == lacks.get(capture.partition("/")[0], [])


def test_what_an_api_does_not_promise_is_not_applicable() -> None:
    run = recorded("openai-chat", "litellm-chat/success")
    for name in ("ids.present", "ids.unique", "ids.increasing", "ids.clock", "framing.event-name"):
        finding = _RULES[name](run)
        assert finding.verdict is Verdict.NOT_APPLICABLE
        assert finding.detail.startswith("this API promises no ")
        assert _RULES[name] not in rules_for(run)
    graph = recorded("langgraph", "langgraph/success")
    finding = _RULES["terminal.always"](graph)
    assert finding.detail == "this API promises no event that tells how a run ended (profile langgraph)"


def test_a_whole_stream_is_done_where_the_api_does_not_tell_how_runs_end() -> None:
    graph = recorded("langgraph", "langgraph/success")
    assert (graph.outcome, graph.over) == ("done", graph.events[-1])
    assert graph.over_ns == graph.timing.ended_ns
    cut = recorded("langgraph", "langgraph/cut")
    assert (cut.outcome, cut.over, cut.over_ns) == (None, None, None)
    failed = recorded("langgraph", "langgraph/error-mid")
    assert (failed.outcome, failed.over) == ("error", failed.terminals[0])
    silent = recorded("openai-chat", "aimock-chat/cut")
    assert silent.outcome is None
