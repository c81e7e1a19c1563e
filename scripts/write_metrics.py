"""Writes docs/metrics.md from the formulas, the objectives, the ledger and the exported families."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.export.metric_families import BOUND_ERROR, BOUNDS, Family, result_families
from harness.export.prometheus import prometheus_name
from harness.gate.goodput import EVERY_RUN_HAS, SOME_RUNS_HAVE
from harness.gate.objective import GOODPUT, KEYS
from harness.results import metrics
from harness.results.histogram import Histogram
from harness.results.ledger import OUTCOMES
from harness.results.reader import Results
from harness.results.records import HARNESS_FAULT, CheckRecord, ProcessRecord
from harness.results.writer import ResultsWriter

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"

_HEAD = """\
# What is measured

Every number that the harness shows, with its formula. Report, gate, terminal, web page and exports show the same
ones, because each formula stands once, in `harness/results/metrics.py`. This page is made by
`python -m scripts.write_metrics`; a test holds it current.

Times are taken on the monotonic clock. The arrival of an event is the kernel's receive stamp of the segment that
completed it (`SO_TIMESTAMPNS`), or, where there is none, the time at which the harness had read it; `receive_stamp`
in the results says which. The *intended start* is when a run was due: in an open loop by its schedule, whatever
became of the runs before, so that a server that backs up shows in the latencies; in a closed loop it is the moment at
which the user set out. The *actual send* is when the request had been handed to the kernel.
"""

_TAKEN = {
    "ttft_ms": "once a run, where it is first asked for; not from rejected streams, nor from replays",
    "service_ttft_ms": "as TTFT; the two part when the server or the harness backs up",
    "first_event_ms": "each stream that was answered with an event and not rejected",
    "head_ms": "each stream whose response began",
    "connect_ms": "each stream that opened a connection of its own",
    "inter_token_ms": "each gap of a run where it is first asked for. Tokens of one read have one arrival time: "
    "what lay between them is not known, so they make no gap and are counted as coalesced",
    "stall_ms": "once a run that brought tokens in two reads or more, where it is first asked for",
    "duration_ms": "once a run, where it is first asked for, when its terminal event came",
    "tokens_per_s": "as the stall",
    "resume_ms": "each stream that resumes a run after a cut",
    "conflict_ms": "each stream with another body for a key in use, when it was rejected",
    "schedule_lag_ms": "each stream of an open loop's arrivals that has a due time",
    "receive_lag_ms": "each read with a kernel stamp, save those of slow readers, which are late on purpose",
    "hub_delay_ms": "each process, every 20 ms; what was due during a stall counts with its own delay",
}
"""Metric to which streams it is taken from."""

_LEDGER = {
    "scheduled": "streams that were to be opened",
    "done": "ended with the terminal event `done`",
    "error": "ended with `error`",
    "cancelled": "ended with `cancelled`",
    "rejected": "answered with another status than 200, or with a rejection as an event",
    "truncated": "the message ended, broke or was malformed without a terminal event",
    "timed out": "exceeded a budget",
    "refused": "no connection could be made",
    "abandoned": "left by the harness: cut on purpose, or its user was stopped in mid-test",
    "in flight": "open when the test ended, or open now",
    "dropped": "due, but never begun, because as many streams as allowed were in flight",
    "lost": "open in a worker that died, when it last told of its streams",
}


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = list(heads)
    yield "| " + " | ".join(heads) + " |"
    yield "| " + " | ".join("---" for _ in heads) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _metrics() -> Iterator[str]:
    yield "## Distributions"
    yield (
        f"Each is kept whole, in a histogram for each second, journey and process. Percentiles "
        f"({', '.join(metrics.PERCENTILES)}) are nearest-rank, within 0.5% of the value; count, "
        f"smallest and largest are exact. What was due during a warm-up is left out."
    )
    for metric in metrics.METRICS.values():
        yield f"### {metric.label}"
        yield f"`{metric.name}`, in {metric.unit}: {metric.formula}."
        yield f"Taken from: {_TAKEN[metric.name]}."


def _rates() -> Iterator[str]:
    yield "## Rates and counts"
    yield f"**Error rate**: {metrics.ERROR_RATE_FORMULA}."
    yield (
        f"**Goodput**: {metrics.GOODPUT_FORMULA}. A single run can meet the limits on "
        f"{', '.join(f'`{name}`' for name in EVERY_RUN_HAS)}, which every run has, and "
        f"{', '.join(f'`{name}`' for name in SOME_RUNS_HAVE)}, which some have; of several percentiles of one metric "
        f"the limit of the highest counts, as that is the one nearly every run is to meet. (Zhong et al., DistServe, "
        f"OSDI 2024, section 2.)"
    )
    yield f"**Violations**: {metrics.VIOLATIONS_FORMULA}. Warm-up counts too: a broken promise is broken then as well."
    yield (
        "**Weights of rows**: a results file keeps every row of a single stream up to `keep_runs`, and beyond that "
        "two uniform samples, of failed streams with those that the harness broke on (up to half of the room), and of "
        "the others. Counts and histograms are always of all. Exported rows say in `weight` how many streams each "
        "stands for."
    )


def _ledger() -> Iterator[str]:
    yield "## The ledger"
    yield (
        "What became of every stream that was scheduled, warm-up too. scheduled = the sum of all others, or the "
        "harness lost something, and the gate fails."
    )
    yield "\n".join(_table(("word", "meaning"), ((word, _LEDGER[word]) for word in OUTCOMES)))


def _objectives() -> Iterator[str]:
    yield "## Objectives"
    yield (
        "What the gate can hold, under `[objectives]` in the settings or with `--objective`. A percentile's limit "
        f"is in ms and an upper one; `error_rate` and `{GOODPUT}` are shares from 0 to 1, goodput's limit is a lower "
        "one; "
        "`violations` is a count. With a journey's name and a point before it, an objective is of that journey's "
        "streams alone: `resume.resume_p99_ms`."
    )
    stems = [name.removesuffix("_ms") for name, metric in metrics.METRICS.items() if metric.unit == "ms"]
    rows = [(f"`{stem}`", *(f"`{stem}_{word}_ms`" for word in metrics.PERCENTILES)) for stem in stems]
    named = {cell.strip("`") for row in rows for cell in row[1:]}
    yield "\n".join(_table(("metric", *metrics.PERCENTILES), rows))
    yield "Further: " + ", ".join(f"`{key}`" for key in KEYS if key not in named) + "."


def _saturation() -> Iterator[str]:
    yield "## The measurement's own error"
    yield (
        f"The harness is *saturated*, and its latencies are inconclusive, when the p99 of receive lag or schedule "
        f"lag is over {metrics.SATURATION_LAG_MS:g} ms, or in any process that carries streams the p99 of hub delay "
        f"is, or one of them used more than {metrics.SATURATION_CPU:.0%} of a core in more than "
        f"{metrics.SATURATION_CPU_SECONDS:.0%} of its seconds."
    )
    yield (
        "A *fault of the harness*, an exception of ours or of a journey's own judge while a stream is read, measured, "
        "compared or judged, says nothing of the server. Such a stream stays in the ledger under its word (`abandoned` "
        "when it was not read to its end), but it is not judged: it is in neither half of error rate and goodput, no "
        "violation is taken from it, and what was measured of it before stays in the distributions. It is counted, "
        f"with its reason, which begins with “{HARNESS_FAULT}”, and one is enough for the gate to be *inconclusive*."
    )


def _dashboards() -> Iterator[str]:
    yield "## For dashboards"
    yield (
        "`harness export RESULTS --format prometheus` writes these in the text format 0.0.4 (for node_exporter's "
        "textfile collector write to a file there: it is replaced as a whole). `[export] otlp_endpoint`, or "
        "`--otlp-endpoint` of `load` and `check`, pushes those of the load to an OpenTelemetry collector over HTTP, "
        "while it goes on and a last time at its end, every ten seconds or as OTEL_METRIC_EXPORT_INTERVAL says; "
        "OTEL_EXPORTER_OTLP_HEADERS and its like are heeded. A collector that fails is told of in the load's log and "
        "fails no test. `--format otlp-json` writes all of them as a line of OTLP in JSON. OTLP needs "
        "`pip install 'agent-run-harness[otel]'`."
    )
    yield (
        "In OpenTelemetry a name has points in place of underscores, and the unit apart: `agent.run.ttft`, in s. "
        "Everything has the label `target`. Histograms are cumulative from the test's start; they and the tallies "
        "leave warm-up out."
    )
    yield (
        f"Buckets end at {', '.join(f'{bound / 1000:g}' for bound in BOUNDS)} s (of token rates at "
        f"{BOUNDS[0]:g} to {BOUNDS[-1]:g} tokens/s). They are sums of the harness's own, finer buckets, "
        f"up to the last that ends not above the bound: so a value above `le` is never counted below it, while one "
        f"that is at most {BOUND_ERROR:.0%} smaller than `le` may be counted in the next bucket. At powers of ten "
        f"they are exact. Count and sum are exact. A quantile that a dashboard interpolates in these buckets is much "
        f"coarser than the `…_percentile` beside them, which is the harness's own."
    )
    yield "\n".join(
        _table(
            ("Prometheus name", "type", "labels", "meaning"),
            ((f"`{_sample_name(one)}`", one.kind, _label_names(one), one.help) for one in _families()),
        )
    )


def _sample_name(family: Family) -> str:
    return prometheus_name(family) + ("_total" if family.kind == "counter" else "")


def _label_names(family: Family) -> str:
    names = dict.fromkeys(name for sample in family.samples for name in sample.labels if name != "target")
    return ", ".join(f"`{name}`" for name in names)


def _families() -> list[Family]:
    """Every family there is, from a results file that has something of everything."""
    one = Histogram()
    one.record(1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.sqlite"
        with ResultsWriter(path) as writer:
            writer.set_manifest(
                started_at="2026-01-01T00:00:00+00:00",
                ended_at="2026-01-01T00:01:00+00:00",
                state="finished",
                receive_stamp="kernel",
                target={"base_url": "http://agent.example"},
                versions={"agent-run-harness": "1", "locust": "2", "python": "3"},
                settings={"objectives": {"ttft_p95_ms": 800}},
            )
            for name in metrics.METRICS:
                writer.add_histogram(name, "fresh", 0, "local", one)
            for word in ("scheduled", "done"):
                writer.add_ledger("local", 0, "fresh", word)
            for word in ("judged", "runs", "good"):
                writer.add_rate_counts("local", 0, "fresh", word)
            writer.count_violation("terminal.last", "fresh", "local")
            writer.add_processes(
                [ProcessRecord(worker="local", second=0, cpu=0.1, rss_bytes=1, open_streams=1)]
            )
            writer.add_checks([CheckRecord(id="terminal.last", level="MUST", verdict="pass")])
        with Results(path) as results:
            return result_families(results)


def metrics_document() -> str:
    """The page."""
    parts = [_HEAD.rstrip()]
    for section in (_metrics, _rates, _ledger, _objectives, _saturation, _dashboards):
        parts += section()
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(metrics_document(), encoding="utf-8")
