from harness.results.ledger import Ledger
from harness.results.metrics import METRICS
from harness.results.reader import Results
from harness.results.summary import summarize
from tests.results.large_file import TOKENS, write_large_file


def test_its_counts_are_exact_and_its_rows_a_sample(tmp_path):
    path = tmp_path / "large.sqlite"
    write_large_file(path, runs=1_003, seconds=7, keep_streams=100)
    with Results(path) as results:
        ledger, failures = results.ledger(), results.failures()
        assert ledger == Ledger({"scheduled": 1_003, "done": 1_003 - failures, "truncated": failures})
        assert results.sample() == (100, 1_003)
        kept = list(results.streams())
        assert sum(row.reason is not None for row in kept) == min(failures, 50)
        summary = summarize(results)
    assert list(summary["metrics"]) == list(METRICS)
    assert (summary["metrics"]["ttft_ms"]["count"], summary["metrics"]["inter_token_ms"]["count"]) == (
        1_003,
        1_003 * TOKENS,
    )
    assert summary["streams"] == {"judged": 1_003, "failed": failures, "error_rate": failures / 1_003}
    assert summary["sample"] == {"seen": 1_003, "kept": 100}
