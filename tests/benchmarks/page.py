"""docs/performance.md: what was measured, and which bars it meets. The text around the markers is kept."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.clients import FAST_HTTP_USER, OURS
from tests.benchmarks.parts import (
    BLAST_STREAMS,
    CPU_STREAMS,
    LAG_LIMIT_MS,
    MEMORY_STREAMS,
    TTFT_STREAMS,
    Document,
)
from tests.benchmarks.target import ROOT

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_DISTURBED_SHARE = 0.05

Documents = dict[str, Document]


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise: what, its limit in words, what was measured (in words), and whether that meets it.

    `met` is None when it was not measured.
    """

    what: str
    limit: str
    measured: str
    met: bool | None


def _median(samples: Iterable[Document], client: str, value: Callable[[Document], float]) -> float | None:
    found = [value(one) for one in samples if one["client"] == client]
    return statistics.median(found) if found else None


def _ratio(part: Document | None, field: str) -> float | None:
    if part is None:
        return None
    ours = _median(part["samples"], OURS.name, lambda one: float(one[field]))
    stock = _median(part["samples"], FAST_HTTP_USER.name, lambda one: float(one[field]))
    return ours / stock if ours is not None and stock else None


def _bar(
    what: str, limit: str, part: Document | None, found: float | None, met: Callable[[float], bool], show: str
) -> Bar:
    if part is None or found is None:
        return Bar(what, limit, "not measured", None)
    # The ladder's rungs count problems themselves: a client climbs until it has some.
    problem = (
        None if "held" in part else next((one["problem"] for one in part["samples"] if one["problem"]), None)
    )
    if problem is not None:
        return Bar(what, limit, f"{show.format(found)}, but {problem}", met=False)
    return Bar(what, limit, show.format(found), met(found))


def _held_ratio(ladder: Document | None) -> float | None:
    if ladder is None:
        return None
    ours, stock = ladder["held"].get(OURS.name), ladder["held"].get(FAST_HTTP_USER.name)
    return (ours or 0) / stock if stock else None


def ttft_error_ms(sample: Document) -> float:
    """How far a client's p99 of the time to first token is from the target's own."""
    return abs(float(sample["ttft_ms"]["p99"]) - float(sample["truth"]["first_token_us"]["p99"]) / 1000)


def _worst(part: Document | None, value: Callable[[Document], float]) -> float | None:
    if part is None:
        return None
    found = [value(one) for one in part["samples"] if one["client"].startswith(OURS.name)]
    return max(found, default=None)


def kb_per_stream(memory: Document, client: str) -> float | None:
    """What a client's resident memory grows by for a further open stream, in KB of 1024 bytes."""
    few, many = (
        _median(
            (one for one in memory["samples"] if one["streams"] == streams),
            client,
            lambda one: one["rss_bytes"],
        )
        for streams in MEMORY_STREAMS
    )
    return (
        None if few is None or many is None else (many - few) / 1024 / (MEMORY_STREAMS[1] - MEMORY_STREAMS[0])
    )


def _open_loop_bars(part: Document | None) -> list[Bar]:
    what = "open loop, 500 arrivals/s over two processes: "
    lag, count = (what + "schedule lag p99", "≤ 5 ms"), (what + "arrivals", "exact")
    if part is None:
        return [Bar(*one, "not measured", None) for one in (lag, count)]
    rounds = part["rounds"]
    lag_ms = max(one["schedule_lag_ms"]["p99"] for one in rounds)
    told = ", ".join(
        f"{one['scheduled']} of {one['due']} ({one['missing_or_doubled']} out of place)" for one in rounds
    )
    return [Bar(*lag, f"{lag_ms:.2f} ms", lag_ms <= 5), Bar(*count, told, all(map(is_exact, rounds)))]


def is_exact(found: Document) -> bool:
    """Whether every arrival that was due was sent, once, and nothing else."""
    return (
        found["due"] == found["scheduled"] == found["asked_of_target"] == found["rows"]
        and not found["missing_or_doubled"]
        and not found["failures"]
    )


def bars(documents: Documents) -> list[Bar]:
    """Every bar, measured or not, in the order of the promise."""
    get = documents.get
    ttft, memory = get("ttft"), get("memory")
    return [
        _bar(
            f"blast, {BLAST_STREAMS} connections: events/s, against FastHttpUser readline",
            "≥ 5",
            get("blast"),
            _ratio(get("blast"), "events_per_s"),
            lambda found: found >= 5,
            "{:.2f}",
        ),
        _bar(
            f"paced, 20 events/s a stream: streams held at receive-lag p99 ≤ {LAG_LIMIT_MS:g} ms, "
            "against FastHttpUser readline",
            "≥ 2.5",
            get("ladder"),
            _held_ratio(get("ladder")),
            lambda found: found >= 2.5,
            "{:.2f}",
        ),
        _bar(
            f"paced, {CPU_STREAMS:,} streams: CPU per event, against FastHttpUser readline",
            "≤ 0.5",
            get("cpu"),
            _ratio(get("cpu"), "cpu_us_per_event"),
            lambda found: found <= 0.5,
            "{:.2f}",
        ),
        _bar(
            f"TTFT p99 error at {TTFT_STREAMS:,} streams, truth 200 ms, also with the hub kept 20% busy",
            "≤ 2 ms",
            ttft,
            _worst(ttft, ttft_error_ms),
            lambda found: found <= 2,
            "{:.2f} ms",
        ),
        _bar(
            "the kernel stamp's own error, p99, also with the hub kept 20% busy",
            "≤ 0.1 ms",
            ttft,
            _worst(ttft, lambda one: float(one["kernel_error_ms"]["p99"])),
            lambda found: found <= 0.1,
            "{:.3f} ms",
        ),
        _bar(
            "memory per open stream in a worker",
            "≤ 20 KB",
            memory,
            None if memory is None else kb_per_stream(memory, OURS.name),
            lambda found: found <= 20,
            "{:.1f} KB",
        ),
        *_open_loop_bars(get("open_loop")),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _verdict(bar: Bar) -> str:
    return {True: "met", False: "**not met**", None: "-"}[bar.met]


def _ms(value: Any, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _clients(part: Document) -> list[str]:
    return list(dict.fromkeys(one["client"] for one in part["samples"]))


def _blast_section(part: Document) -> str:
    rows = [
        (
            client,
            f"{_median(part['samples'], client, lambda one: one['events_per_s']):,.0f}",
            f"{_median(part['samples'], client, lambda one: one['cpu_us_per_event']):.2f}",
        )
        for client in _clients(part)
    ]
    title = f"### Blast: {BLAST_STREAMS} connections, {part['rhythm']['tokens']} tokens a stream"
    return f"{title}\n\n" + _table(("client", "events/s", "CPU µs/event"), rows)


def _cpu_section(part: Document) -> str:
    rows = [
        (client, f"{_median(part['samples'], client, lambda one: one['cpu_us_per_event']):.1f}")
        for client in _clients(part)
    ]
    return f"### Paced: processor time at {CPU_STREAMS:,} streams\n\n" + _table(
        ("client", "CPU µs/event"), rows
    )


def _ladder_section(part: Document) -> str:
    clients = _clients(part)
    rows = [
        (
            one["client"],
            str(one["streams"]),
            _ms(one["lag_ms"]["p99"]),
            _ms((one["lag_by_send_ms"] or {}).get("p99")),
            f"{one['open_streams']:.0f}",
            f"{one['cpu_us_per_event']:.1f}",
            f"{one['cpu_share']:.0%}",
            f"{one['waited_share']:.0%}",
            _ms(one["truth"]["lateness_us"]["p99"] / 1000, 2),
            one["problem"] or "",
        )
        for one in sorted(part["samples"], key=lambda one: (clients.index(one["client"]), one["streams"]))
    ]
    held = ", ".join(f"{client} {streams or 'none'}" for client, streams in part["held"].items())
    head = (
        *("client", "streams", "lag p99 ms", "lag by send", "open", "CPU µs/event", "core", "waited"),
        *("target late p99 ms", "problem"),
    )
    return f"### Paced: the ladder\n\nHeld: {held}. Every try:\n\n" + _table(head, rows)


def _ttft_section(part: Document) -> str:
    rows = [
        (
            one["client"],
            f"{_ms(one['ttft_ms']['p50'])} / {_ms(one['ttft_ms']['p99'])}",
            f"{one['truth']['first_token_us']['p50'] / 1000:.1f} / {one['truth']['first_token_us']['p99'] / 1000:.1f}",
            _ms((one["kernel_error_ms"] or {}).get("p99"), 3),
        )
        for one in part["samples"]
    ]
    head = ("client", "TTFT p50 / p99 ms", "the target's own", "kernel stamp's error p99 ms")
    return f"### Time to first token at {TTFT_STREAMS:,} streams\n\n" + _table(head, rows)


def _memory_section(part: Document) -> str:
    rows = [
        (client, "-" if (found := kb_per_stream(part, client)) is None else f"{found:.1f}")
        for client in _clients(part)
    ]
    few, many = MEMORY_STREAMS
    return f"### Memory: from {few} to {many:,} open streams\n\n" + _table(("client", "KB/stream"), rows)


def _open_loop_section(part: Document) -> str:
    rows = [
        (
            str(one["due"]),
            str(one["scheduled"]),
            str(one["asked_of_target"]),
            str(one["missing_or_doubled"]),
            str(one["failures"]),
            f"{_ms(one['schedule_lag_ms']['p50'], 2)} / {_ms(one['schedule_lag_ms']['p99'], 2)}",
        )
        for one in part["rounds"]
    ]
    head = ("due", "scheduled", "reached the target", "out of place", "failed", "schedule lag p50 / p99 ms")
    return f"### Open loop: {part['rate']} arrivals/s, {part['processes']} processes\n\n" + _table(head, rows)


_SECTIONS: dict[str, Callable[[Document], str]] = {
    "blast": _blast_section,
    "ladder": _ladder_section,
    "cpu": _cpu_section,
    "ttft": _ttft_section,
    "memory": _memory_section,
    "open_loop": _open_loop_section,
}


def _where(documents: Documents) -> str:
    """The machine of each part; parts may have been measured on different days."""
    told: dict[str, list[str]] = {}
    for name, part in documents.items():
        one = part["machine"]
        packages = ", ".join(f"{package} {version}" for package, version in one["packages"].items())
        text = (
            f"{one['date']}, {one['processor']}, {one['cores']} cores, {one['kernel']}, Python {one['python']}, "
            f"{packages}; target in {'C' if part.get('target', 'c') == 'c' else 'Python'}"
        )
        told.setdefault(text, []).append(name.replace("_", " "))
    return "\n".join(f"Measured ({', '.join(names)}): {text}." for text, names in told.items())


def disturbed(documents: Documents) -> str:
    """How many windows were no client's own: something else had the core that it was to have."""
    samples = [one for part in documents.values() for one in part.get("samples", [])]
    count = sum(one["waited_share"] > _DISTURBED_SHARE for one in samples)
    return (
        f"In {count} of {len(samples)} windows the client waited for its core for more than {_DISTURBED_SHARE:.0%} of "
        "the time, because something else ran on it."
    )


def page(documents: Documents) -> str:
    """Everything between the markers."""
    table = _table(
        ("what", "bar", "measured", ""),
        [(bar.what, bar.limit, bar.measured, _verdict(bar)) for bar in bars(documents)],
    )
    sections = [section(documents[name]) for name, section in _SECTIONS.items() if name in documents]
    return "\n\n".join([_where(documents), disturbed(documents), table, *sections])


def write(documents: Documents) -> None:
    """Put it into the page. Raises ValueError when that lacks its markers."""
    text = PAGE.read_text(encoding="utf-8")
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"{PAGE} lacks the lines {BEGIN} and {END}, between which the measurements go")
    PAGE.write_text(f"{before}{BEGIN}\n{page(documents)}\n{END}{after}", encoding="utf-8")
