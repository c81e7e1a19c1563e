import pytest

from harness.results.rate_counts import WORDS, RateCounts, checked_word


def test_a_tally_is_made_of_counts_by_word():
    assert RateCounts.of({"judged": 5, "good": 2}) == RateCounts(judged=5, failed=0, runs=0, good=2)
    assert RateCounts.of({}) == RateCounts()
    assert WORDS == ("judged", "failed", "runs", "good")


def test_an_unknown_word_and_a_negative_count_are_refused():
    with pytest.raises(ValueError, match="'ok' is not tallied; it is one of judged, failed, runs, good"):
        checked_word("ok")
    with pytest.raises(ValueError, match="-1 of 'good' cannot be added"):
        checked_word("good", -1)
