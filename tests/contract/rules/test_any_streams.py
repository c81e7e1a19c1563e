"""No comparison breaks, whatever two or more streams of a run brought."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.contract.exchange import Exchange
from harness.contract.expectations import Expectations
from harness.contract.rules import comparisons
from tests.contract.exchanges import another_run, no_answer
from tests.contract.rules.test_comparisons import TOKENS, part

_PLACES = st.lists(st.integers(0, TOKENS), max_size=6)
_NAMED = st.none() | st.integers(0, TOKENS + 2)
_STREAMS = (
    st.builds(
        lambda places, after, to_end: part(*places, after=after, to_end=to_end),
        _PLACES,
        _NAMED,
        st.booleans(),
    )
    | st.just(no_answer())
    | st.just(another_run())
)
_EXPECTATIONS = st.builds(
    Expectations,
    resume_start=st.sampled_from(["any", "tail", "replay"]),
    last_event_id=st.sampled_from([None, True, False]),
)


@settings(deadline=None, max_examples=max(settings().max_examples, 100))
@given(st.lists(_STREAMS, min_size=2, max_size=4), _STREAMS | st.none(), _EXPECTATIONS)
def test_any_streams_can_be_compared(
    parts: list[Exchange], whole: Exchange | None, expect: Expectations
) -> None:
    first, second = parts[:2]
    findings = comparisons.check_parts(parts, whole, expect)
    findings += comparisons.check_retry(first, second, expect)
    findings += comparisons.check_resumed(first, second, whole, expect)
    canonical = comparisons.canonical_stream(parts, expect)
    for stream in parts:
        findings += comparisons.check_joined(canonical, stream, expect)
        findings += comparisons.check_abandoned(canonical, stream, expect)
        findings += comparisons.check_first_reader(first, stream, canonical, expect)
        findings += comparisons.check_race(canonical, stream, expect)
        findings += comparisons.check_conflict(first, stream, expect)
    assert all(finding.detail for finding in findings)
