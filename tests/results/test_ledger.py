import pytest

from harness.results.ledger import ENDINGS, OUTCOMES, Ledger
from tests.cases import all_cases


def test_the_words_and_their_order():
    assert OUTCOMES == (
        "scheduled",
        "done",
        "error",
        "cancelled",
        "rejected",
        "truncated",
        "timed out",
        "refused",
        "abandoned",
        "in flight",
        "dropped",
        "lost",
    )
    assert list(Ledger({"in flight": 1, "scheduled": 1}).as_dict()) == list(OUTCOMES)


def test_it_adds_up_when_every_scheduled_stream_is_accounted_for():
    ledger = Ledger({"scheduled": 14, **dict.fromkeys(ENDINGS, 1), "in flight": 1, "dropped": 2, "lost": 3})
    assert ledger.adds_up
    assert (ledger.missing, ledger.ended, ledger.judged, ledger.unended) == (0, 8, 7, 6)


@all_cases("outcome", OUTCOMES[1:])
def test_each_outcome_counts_in_the_equation(outcome):
    ledger = Ledger({"scheduled": 1})
    assert (ledger.adds_up, ledger.missing) == (False, 1)
    ledger.add(outcome)
    assert ledger.adds_up
    ledger.add(outcome)
    assert (ledger.adds_up, ledger.missing) == (False, -1)


def test_ledgers_merge():
    one = Ledger({"scheduled": 2, "done": 1})
    one.merge(Ledger({"scheduled": 1, "error": 2}))
    assert one == Ledger({"scheduled": 3, "done": 1, "error": 2})
    assert one != Ledger({"scheduled": 3, "done": 1})
    assert one["error"] == 2


def test_an_unknown_word_and_a_negative_count_are_refused():
    with pytest.raises(ValueError, match="unknown ledger outcome 'completed'; use one of scheduled, done"):
        Ledger({"completed": 1})
    with pytest.raises(ValueError, match="cannot add -"):
        Ledger().add("done", -1)
    with pytest.raises(ValueError, match="unknown ledger outcome"):
        Ledger()["in-flight"]
