"""Writes the measurements into docs/performance.md, between two markers, and says which goals they meet."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.charts import COST, LAG, draw
from tests.benchmarks.clients import AIOHTTP, FAST_HTTP_USER, OURS
from tests.benchmarks.master import PLANNED_RATE, PLANNED_SHARE, cost
from tests.benchmarks.parts import (
    BLAST_STREAMS,
    CPU_STREAMS,
    LAG_LIMIT_MS,
    MEMORY_STREAMS,
    TTFT_STREAMS,
    Document,
)
from tests.benchmarks.target import ROOT
from tests.benchmarks.traces import LIMIT, VARIANTS, ratio

PAGE = ROOT / "docs" / "performance.md"
_PICTURES = "pictures"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_DISTURBED_WAIT_SHARE = 0.05

Documents = dict[str, Document]


@dataclass(frozen=True, slots=True)
class Goal:
    """One performance goal. met: None if it was not measured."""

    metric: str
    limit: str
    measured: str
    met: bool | None


def _median(samples: Iterable[Document], client: str, value: Callable[[Document], float]) -> float | None:
    values = [value(sample) for sample in samples if sample["client"] == client]
    return statistics.median(values) if values else None


def _ratio(part: Document | None, field: str) -> float | None:
    if part is None:
        return None
    ours = _median(part["samples"], OURS.name, lambda sample: float(sample[field]))
    stock = _median(part["samples"], FAST_HTTP_USER.name, lambda sample: float(sample[field]))
    return ours / stock if ours is not None and stock else None


def _goal(
    metric: str,
    limit: str,
    part: Document | None,
    value: float | None,
    met: Callable[[float], bool],
    template: str,
) -> Goal:
    if part is None or value is None:
        return Goal(metric, limit, "not measured", None)
    measured = template.format(value)
    problems = [sample["problem"] for sample in part["samples"] if sample["problem"]]
    if problems and "held" not in part:  # the ladder raises the load until a client has problems
        return Goal(metric, limit, f"{measured}, but {problems[0]}", met=False)
    return Goal(metric, limit, measured, met(value))


def _sustained_ratio(ladder: Document | None) -> float | None:
    """Relative to the better of the two other clients."""
    if ladder is None:
        return None
    held = ladder["held"]
    stock = max(held.get(client.name) or 0 for client in (FAST_HTTP_USER, AIOHTTP))
    return (held.get(OURS.name) or 0) / stock if stock else None


def ttft_error_ms(sample: Document) -> float:
    """Difference between a client's p99 TTFT and the target's, in ms."""
    return abs(float(sample["ttft_ms"]["p99"]) - float(sample["truth"]["first_token_us"]["p99"]) / 1000)


def _worst(part: Document | None, value: Callable[[Document], float]) -> float | None:
    if part is None:
        return None
    values = [value(sample) for sample in part["samples"] if sample["client"].startswith(OURS.name)]
    return max(values, default=None)


def kb_per_stream(memory: Document, client: str) -> float | None:
    """Growth of a client's resident memory per open stream, in KB of 1024 bytes."""
    few, many = (
        _median(
            (sample for sample in memory["samples"] if sample["streams"] == streams),
            client,
            lambda sample: sample["rss_bytes"],
        )
        for streams in MEMORY_STREAMS
    )
    return (
        None if few is None or many is None else (many - few) / 1024 / (MEMORY_STREAMS[1] - MEMORY_STREAMS[0])
    )


def _open_loop_goals(part: Document | None) -> list[Goal]:
    setup = "open loop, 500 arrivals/s in two processes: "
    lag, count = (setup + "schedule lag p99", "≤ 1.5 ms"), (setup + "arrivals", "exact")
    if part is None:
        return [Goal(*goal, "not measured", None) for goal in (lag, count)]
    rounds = part["rounds"]
    lag_ms = max(result["schedule_lag_ms"]["p99"] for result in rounds)
    counts = ", ".join(
        f"{result['scheduled']} of {result['due']} ({result['missing_or_doubled']} misplaced)"
        for result in rounds
    )
    return [Goal(*lag, f"{lag_ms:.2f} ms", lag_ms <= 1.5), Goal(*count, counts, all(map(is_exact, rounds)))]


def _traces_goal(part: Document | None) -> Goal:
    metric, limit = "traces of the slowest and failed runs: CPU per event relative to none", f"≤ {LIMIT:.2f}"
    if part is None:
        return Goal(metric, limit, "not measured", None)
    paced, _ = part["cases"]
    value = ratio(paced, "spans")
    return Goal(metric, limit, f"{value:.3f}", value <= LIMIT)


def is_exact(result: Document) -> bool:
    """Whether every due arrival was sent exactly once, and nothing else."""
    return (
        result["due"] == result["scheduled"] == result["asked_of_target"] == result["rows"]
        and not result["missing_or_doubled"]
        and not result["failures"]
    )


def goals(documents: Documents) -> list[Goal]:
    """Every goal, measured or not."""
    get = documents.get
    ttft, memory = get("ttft"), get("memory")
    return [
        _goal(
            f"blast, {BLAST_STREAMS} connections: events/s relative to FastHttpUser readline",
            "≥ 8",
            get("blast"),
            _ratio(get("blast"), "events_per_s"),
            lambda value: value >= 8,
            "{:.2f}",
        ),
        _goal(
            f"blast of OpenAI chat completions, {BLAST_STREAMS} connections: CPU per event of FastHttpUser readline "
            "relative to ours",
            "≥ 5",
            get("chat_blast"),
            None if (ratio := _ratio(get("chat_blast"), "cpu_us_per_event")) is None else 1 / ratio,
            lambda value: value >= 5,
            "{:.2f}",
        ),
        _goal(
            f"paced, 20 events/s per stream: streams sustained at receive-lag p99 ≤ {LAG_LIMIT_MS:g} ms, "
            "relative to the better of FastHttpUser readline and aiohttp",
            "≥ 3",
            get("ladder"),
            _sustained_ratio(get("ladder")),
            lambda value: value >= 3,
            "{:.2f}",
        ),
        _goal(
            f"paced, {CPU_STREAMS:,} streams: CPU per event relative to FastHttpUser readline",
            "≤ 0.38",
            get("cpu"),
            _ratio(get("cpu"), "cpu_us_per_event"),
            lambda value: value <= 0.38,
            "{:.2f}",
        ),
        _goal(
            f"TTFT p99 error at {TTFT_STREAMS:,} streams, true value 200 ms, idle and with the hub 20% busy",
            "≤ 0.4 ms",
            ttft,
            _worst(ttft, ttft_error_ms),
            lambda value: value <= 0.4,
            "{:.2f} ms",
        ),
        _goal(
            "error of the kernel timestamp, p99, idle and with the hub 20% busy",
            "≤ 0.01 ms",
            ttft,
            _worst(ttft, lambda sample: float(sample["kernel_error_ms"]["p99"])),
            lambda value: value <= 0.01,
            "{:.3f} ms",
        ),
        _goal(
            "memory per open stream in a worker",
            "≤ 11 KB",
            memory,
            None if memory is None else kb_per_stream(memory, OURS.name),
            lambda value: value <= 11,
            "{:.1f} KB",
        ),
        *_open_loop_goals(get("open_loop")),
        _traces_goal(get("traces")),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _result(goal: Goal) -> str:
    return {True: "met", False: "**missed**", None: "-"}[goal.met]


def _ms(value: Any, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _clients(part: Document) -> list[str]:
    return list(dict.fromkeys(sample["client"] for sample in part["samples"]))


def _blast_section(part: Document) -> str:
    rows = [
        (
            client,
            f"{_median(part['samples'], client, lambda sample: sample['events_per_s']):,.0f}",
            f"{_median(part['samples'], client, lambda sample: sample['cpu_us_per_event']):.2f}",
        )
        for client in _clients(part)
    ]
    api = "Blast of OpenAI chat completions" if part["rhythm"].get("api") == "openai-chat" else "Blast"
    title = f"### {api}: {BLAST_STREAMS} connections, {part['rhythm']['tokens']} tokens per stream"
    return f"{title}\n\n" + _table(("client", "events/s", "CPU µs/event"), rows)


def _cpu_section(part: Document) -> str:
    rows = [
        (client, f"{_median(part['samples'], client, lambda sample: sample['cpu_us_per_event']):.1f}")
        for client in _clients(part)
    ]
    return f"### Paced: CPU time at {CPU_STREAMS:,} streams\n\n" + _table(("client", "CPU µs/event"), rows)


def _ladder_section(part: Document) -> str:
    clients = _clients(part)
    rows = [
        (
            sample["client"],
            str(sample["streams"]),
            _ms(sample["lag_ms"]["p99"]),
            _ms((sample["lag_by_send_ms"] or {}).get("p99")),
            f"{sample['open_streams']:.0f}",
            f"{sample['cpu_us_per_event']:.1f}",
            f"{sample['cpu_share']:.0%}",
            f"{sample['waited_share']:.0%}",
            _ms(sample["truth"]["lateness_us"]["p99"] / 1000, 2),
            sample["problem"] or "",
        )
        for sample in sorted(
            part["samples"], key=lambda sample: (clients.index(sample["client"]), sample["streams"])
        )
    ]
    sustained = ", ".join(f"{client} {streams or 'none'}" for client, streams in part["held"].items())
    head = (
        *("client", "streams", "lag p99 ms", "lag from `t`", "open", "CPU µs/event", "core", "waited"),
        *("target late p99 ms", "problem"),
    )
    pictures = (
        f"![Receive lag of each client by number of streams]({_PICTURES}/{LAG})\n\n"
        f"![CPU time per event of each client by number of streams]({_PICTURES}/{COST})"
    )
    title = f"### Paced: the ladder\n\nSustained: {sustained}.\n\n{pictures}\n\nAll attempts:\n\n"
    return title + _table(head, rows)


def _ttft_section(part: Document) -> str:
    rows = [
        (
            sample["client"],
            f"{_ms(sample['ttft_ms']['p50'])} / {_ms(sample['ttft_ms']['p99'])}",
            "{p50:.1f} / {p99:.1f}".format(
                p50=sample["truth"]["first_token_us"]["p50"] / 1000,
                p99=sample["truth"]["first_token_us"]["p99"] / 1000,
            ),
            _ms((sample["kernel_error_ms"] or {}).get("p99"), 3),
        )
        for sample in part["samples"]
    ]
    head = ("client", "TTFT p50 / p99 ms", "true value", "kernel timestamp error p99 ms")
    return f"### Time to first token at {TTFT_STREAMS:,} streams\n\n" + _table(head, rows)


def _memory_section(part: Document) -> str:
    rows = [
        (client, "-" if (kb := kb_per_stream(part, client)) is None else f"{kb:.1f}")
        for client in _clients(part)
    ]
    few, many = MEMORY_STREAMS
    return f"### Memory: from {few} to {many:,} open streams\n\n" + _table(("client", "KB/stream"), rows)


def _open_loop_section(part: Document) -> str:
    rows = [
        (
            str(result["due"]),
            str(result["scheduled"]),
            str(result["asked_of_target"]),
            str(result["missing_or_doubled"]),
            str(result["failures"]),
            f"{_ms(result['schedule_lag_ms']['p50'], 2)} / {_ms(result['schedule_lag_ms']['p99'], 2)}",
        )
        for result in part["rounds"]
    ]
    head = ("due", "scheduled", "received by target", "misplaced", "failed", "schedule lag p50 / p99 ms")
    return f"### Open loop: {part['rate']} arrivals/s, {part['processes']} processes\n\n" + _table(head, rows)


def _master_section(part: Document) -> str:
    found = cost(part["runs"])
    rows = [
        (str(run["workers"]), f"{run['rate']:.0f}", f"{run['cpu']:.1%}")
        for run in sorted(part["runs"], key=lambda run: (run["workers"], run["rate"]))
    ]
    return (
        "### Master: CPU time, of one core\n\n"
        + _table(("workers", "streams/s", "CPU of the master"), rows)
        + f"\n\nThat is {found.per_worker * 1000:.2f} ms per second for each worker, and "
        f"{found.per_stream * 1000:.2f} ms for each stream: at {PLANNED_SHARE:.0%} of a core, one master bears "
        f"{found.workers} workers that send {PLANNED_RATE} streams per second each."
    )


def _traces_section(part: Document) -> str:
    names = {"without": "no traces", "traceparent": "the field traceparent", "spans": "the field and spans"}
    rows = [
        (
            f"{case['rhythm']['tokens']} tokens, {'paced' if case['rhythm']['gap_us'] else 'at once'}",
            names[variant],
            f"{case['cpu_us_per_event'][variant]:.2f}",
            f"{ratio(case, variant):.3f}",
        )
        for case in part["cases"]
        for variant in VARIANTS
    ]
    return "### Traces: CPU time per event\n\n" + _table(("run", "load with", "CPU µs/event", "ratio"), rows)


_SECTIONS: dict[str, Callable[[Document], str]] = {
    "blast": _blast_section,
    "chat_blast": _blast_section,
    "ladder": _ladder_section,
    "cpu": _cpu_section,
    "ttft": _ttft_section,
    "memory": _memory_section,
    "open_loop": _open_loop_section,
    "master": _master_section,
    "traces": _traces_section,
}


def _machines(documents: Documents) -> str:
    """The machine and date of each part, which may differ."""
    parts: dict[str, list[str]] = {}
    for name, part in documents.items():
        machine = part["machine"]
        packages = ", ".join(f"{package} {version}" for package, version in machine["packages"].items())
        text = (
            f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, {machine['kernel']}, "
            f"Python {machine['python']}, {packages}; "
            f"target in {'C' if part.get('target', 'c') == 'c' else 'Python'}"
        )
        parts.setdefault(text, []).append(name.replace("_", " "))
    return "\n".join(f"Measured ({', '.join(names)}): {text}." for text, names in parts.items())


def disturbed(documents: Documents) -> str:
    """In how many measurement windows other processes took the client's core."""
    samples = [sample for part in documents.values() for sample in part.get("samples", [])]
    count = sum(sample["waited_share"] > _DISTURBED_WAIT_SHARE for sample in samples)
    return (
        f"In {count} of {len(samples)} measurement windows another process used the client's core for more than "
        f"{_DISTURBED_WAIT_SHARE:.0%} of the time."
    )


def page(documents: Documents) -> str:
    """Everything between the markers."""
    table = _table(
        ("metric", "goal", "measured", ""),
        [(goal.metric, goal.limit, goal.measured, _result(goal)) for goal in goals(documents)],
    )
    sections = [section(documents[name]) for name, section in _SECTIONS.items() if name in documents]
    return "\n\n".join([_machines(documents), disturbed(documents), table, *sections])


def write(documents: Documents) -> None:
    """Update the page and its pictures. Raises ValueError if its markers are missing."""
    text = PAGE.read_text(encoding="utf-8")
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"{PAGE} needs the lines {BEGIN} and {END} around the measurements")
    if "ladder" in documents:
        draw(documents["ladder"], PAGE.parent / _PICTURES)
    PAGE.write_text(f"{before}{BEGIN}\n{page(documents)}\n{END}{after}", encoding="utf-8")
