"""What the cells of a results file may contain. A file with anything else was damaged or made by something else."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from math import isfinite
from typing import Annotated, Any, TypeAlias

import msgspec

from harness.input_file import is_deeper
from harness.results.ledger import OUTCOMES
from harness.results.rate_counts import COUNTERS
from harness.results.records import LEVELS, SCRAPE_KINDS, STREAM_COLUMNS, VERDICTS

NAME_BYTES = 1_000
"""The longest name: of a journey, a worker, a requirement."""
NAMES_AT_MOST = {"journey": 200, "worker": 2_000, "metric": 100, "requirement": 2_000, "series": 1_000}
"""The most different names. Reading takes time and memory for each."""
HISTOGRAM_SUMS = 10_000
"""The most combinations of metric, journey and worker; each takes 21 kB."""
HISTOGRAM_BYTES = 32_000
"""The largest stored histogram: every bucket filled, and not compressible."""
LATEST_S = 10_000_000_000
"""Epoch seconds end here, in the year 2286."""
LATEST_NS = 9_200_000_000_000_000_000
"""Epoch nanoseconds end here, in the year 2261, because an SQLite integer ends soon after."""
COUNT = 10**15
"""More streams than any test has."""
DURATION_MS = 1e12
"""Longer than any duration: 31 years."""

SCRAPED = 1e300
"""The largest value of the server's own metrics."""

JSON_VALUES = 1_000_000
"""The most values in one JSON cell. Python takes about 100 bytes for each."""
JSON_LEVELS = 200
JSON_DIGITS = 300
"""A longer integer does not fit into a float."""

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_SMALL_JSON = 1_000_000  # characters that need no count of their values first

# What is wrong with a value, in the form that SQLite decides fastest: a file may have a million rows. A comparison with
# NULL is NULL, and not wrong, so the type of a column that may not be NULL is checked too.
_NAME = f"typeof({{0}}) <> 'text' OR length(CAST({{0}} AS BLOB)) > {NAME_BYTES}"
_WHOLE = f"typeof({{0}}) <> 'integer' OR {{0}} NOT BETWEEN 0 AND {COUNT}"
_SECOND = f"typeof({{0}}) <> 'integer' OR {{0}} NOT BETWEEN 0 AND {LATEST_S}"
_NS = f"typeof({{0}}) <> 'integer' OR {{0}} NOT BETWEEN 0 AND {LATEST_NS}"
_NS_OR_NULL = f"typeof({{0}}) NOT IN ('integer', 'null') OR {{0}} NOT BETWEEN 0 AND {LATEST_NS}"
_MS = f"{{0}} NOT BETWEEN {-DURATION_MS:.0f} AND {DURATION_MS:.0f}"
_TRACE_ID = "length(CAST({0} AS BLOB)) <> 32 OR {0} GLOB '*[^0-9a-f]*'"
_STATUS = "{0} NOT BETWEEN -1000000 AND 1000000"
_HISTOGRAM = f"coalesce(length({{0}}) > {HISTOGRAM_BYTES}, 1)"


def _one_of(words: tuple[str, ...]) -> str:
    return f"({{0}} IN ({', '.join(repr(word) for word in words)})) IS NOT 1"


_OUTCOME = _one_of(OUTCOMES)
_COLUMNS: dict[str, dict[str, str]] = {
    "manifest": {"key": _NAME},
    "streams": {
        **{name: _MS for name in STREAM_COLUMNS if name.endswith("_ms")},
        **dict.fromkeys(("journey", "step", "worker"), _NAME),
        **dict.fromkeys(("events", "tokens", "violations"), _WHOLE),
        "intended_ns": _NS,
        "sent_ns": _NS_OR_NULL,
        "outcome": _OUTCOME,
        "status": _STATUS,
        "trace_id": _TRACE_ID,
    },
    "histograms": {
        **dict.fromkeys(("metric", "journey", "worker"), _NAME),
        "second": _SECOND,
        "histogram": _HISTOGRAM,
    },
    "histogram_totals": {
        **dict.fromkeys(("metric", "journey", "worker"), _NAME),
        "measured": "({0} IN (0, 1)) IS NOT 1",
        "histogram": _HISTOGRAM,
    },
    "histogram_seconds": {
        "metric": _NAME,
        "second": _SECOND,
        "histogram": _HISTOGRAM,
    },
    "ledger": {"worker": _NAME, "second": _SECOND, "journey": _NAME, "outcome": _OUTCOME, "count": _WHOLE},
    "open_streams": {"worker": _NAME, "journey": _NAME, "count": _WHOLE},
    "failures": {"worker": _NAME, "second": _SECOND, "journey": _NAME, "count": _WHOLE},
    "rate_counts": {
        "worker": _NAME,
        "second": _SECOND,
        "journey": _NAME,
        "counter": _one_of(tuple(COUNTERS)),
        "count": _WHOLE,
    },
    "processes": {
        "worker": _NAME,
        "second": _SECOND,
        "cpu": "({0} BETWEEN -1000 AND 1000000) IS NOT 1",
        "rss_bytes": f"({{0}} BETWEEN 0 AND {COUNT}) IS NOT 1",
        "open_streams": _WHOLE,
    },
    "scrapes": {
        "second": _SECOND,
        "series": _NAME,
        "kind": _one_of(SCRAPE_KINDS),
        "value": f"({{0}} BETWEEN {-SCRAPED:g} AND {SCRAPED:g}) IS NOT 1",
    },
    "violations": {"requirement": _NAME, "journey": _NAME, "at_ns": _NS},
    "violation_counts": {"requirement": _NAME, "journey": _NAME, "worker": _NAME, "count": _WHOLE},
    "checks": {
        "id": _NAME,
        "level": _one_of(LEVELS),
        "verdict": _one_of(VERDICTS),
        "duration_s": "{0} NOT BETWEEN -1000 AND 10000000000",
    },
    "rule_results": {"test": _NAME, "requirement": _NAME, "verdict": _one_of(VERDICTS)},
    "exchanges": {"id": _NAME, "scenario": _NAME},
}
"""For each column that has more to satisfy than its type: an SQL condition for a value that is wrong."""

#: Where the names are, in addition to the histograms.
_NAMED_IN = {
    "journey": (
        "streams",
        "histogram_totals",
        "ledger",
        "open_streams",
        "failures",
        "rate_counts",
        "violation_counts",
    ),
    "worker": ("histogram_totals", "ledger", "processes", "violation_counts"),
    "metric": ("histogram_totals", "histogram_seconds"),
    "series": ("scrapes",),
    "requirement": ("violations", "violation_counts", "rule_results"),
}


def value_problem(database: sqlite3.Connection) -> str:
    """What is wrong with the first value that no results file contains, as a clause; empty if every value may be there.

    Raises sqlite3.Error.
    """
    return next(_problems(database), "")


def _problems(database: sqlite3.Connection) -> Iterator[str]:
    found = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, known in _COLUMNS.items():
        if table not in found:  # a file of an older version
            continue
        here = {name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")}
        columns = {name: condition for name, condition in known.items() if name in here}
        conditions = [f"({condition.format(name)})" for name, condition in columns.items()]
        wrong = database.execute(
            f"SELECT {', '.join(conditions)} FROM {table} WHERE {' OR '.join(conditions)} LIMIT 1"  # noqa: S608 - our own text
        ).fetchone()
        if wrong is not None:
            column = list(columns)[wrong.index(1)]
            yield f"a value of {table}.{column} is impossible"
    query = f"SELECT DISTINCT metric, journey, worker FROM histograms LIMIT {HISTOGRAM_SUMS + 1}"  # noqa: S608 - our own text
    sums = database.execute(query).fetchall()
    measured = dict(zip(("metric", "journey", "worker"), zip(*sums, strict=True), strict=False))
    for name, tables in _NAMED_IN.items():
        names = set(measured.get(name, ()))
        for table in tables:
            if table in found:
                query = f"SELECT DISTINCT {name} FROM {table} LIMIT {NAMES_AT_MOST[name] + 1}"  # noqa: S608 - our own text
                names.update(found_name for (found_name,) in database.execute(query))
        if len(names) > NAMES_AT_MOST[name]:
            yield f"it has more than {NAMES_AT_MOST[name]:,} different {name} names"
    if len(sums) > HISTOGRAM_SUMS:
        yield f"it has more than {HISTOGRAM_SUMS:,} combinations of metric, journey and worker"


def bounded_json(text: str) -> Any:
    """The value of a JSON cell. Raises ValueError for invalid JSON, and for what takes much memory or no JSON has."""
    if len(text) > _SMALL_JSON:
        outside = _STRING.sub("", text)
        if sum(map(outside.count, ",[{")) > JSON_VALUES:
            raise ValueError(f"more than {JSON_VALUES:,} values in one JSON text")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if text.count("[") + text.count("{") > JSON_LEVELS and is_deeper(value, JSON_LEVELS):
        raise ValueError(_TOO_DEEP)
    return value


def without_escaped_surrogates(text: str) -> str:
    """A JSON text in which the escape of half a character stands for itself: no file or terminal can show the half."""
    return _ESCAPED.sub(lambda found: f"\\{found[0]}" if found["half"] else found[0], text)


_ESCAPED = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_TOO_DEEP = f"JSON nested more than {JSON_LEVELS} levels deep"


def _integer(digits: str) -> int:
    if len(digits) > JSON_DIGITS:
        raise ValueError(f"a number of more than {JSON_DIGITS} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError("a number that is not finite")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_refuse_constant)

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=COUNT)]
_Number: TypeAlias = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
_Counts: TypeAlias = dict[str, _Count]


class _Load(msgspec.Struct):
    duration: _Number | None = None
    warmup: _Number | None = None
    rate: _Number | None = None
    users: _Count | None = None
    journeys: dict[str, _Number] | None = None


class _Target(msgspec.Struct):
    base_url: str | None = None
    path: str | None = None
    organization_id: str | None = None


class _Settings(msgspec.Struct):
    target: _Target | None = None
    load: _Load | None = None
    budgets: dict[str, _Number] | None = None
    objectives: dict[str, _Number | str] | None = None
    gate: dict[str, Any] | None = None


class _Restart(msgspec.Struct):
    """As harness.results.restart_cost writes it."""

    at_ns: Annotated[int, msgspec.Meta(ge=0, le=LATEST_NS)]
    how: Annotated[str, msgspec.Meta(max_length=20)]
    command_s: _Number | None = None
    problem: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None
    lost_after_ms: _Number | None = None
    first_good_ms: _Number | None = None
    interrupted: _Count = 0
    resumed: _Count = 0
    ended: _Count = 0
    twice: _Count = 0
    lost: _Count = 0
    unread: _Count = 0
    errors: _Count = 0
    turned_away: _Count = 0


class _ManifestShape(msgspec.Struct):
    """The keys whose type readers rely on. The others may have any value."""

    load_state: str | None = None
    suite_state: str | None = None
    receive_stamp: str | None = None
    settings: _Settings | None = None
    load_notes: list[str] | None = None
    suite_notes: list[str] | None = None
    load_warnings: _Counts | None = None
    harness_faults: _Counts | None = None
    workers_lost: list[str] | None = None
    counted_until: dict[str, str | None] | None = None
    streams_seen: _Count | None = None
    streams_kept: _Count | None = None
    measured_from: Annotated[int, msgspec.Meta(ge=0, le=LATEST_S)] | None = None
    warmup_s: _Number | None = None
    tokens: _Count | None = None
    coalesced_tokens: _Count | None = None
    capacity: dict[str, Any] | None = None
    restart: _Restart | None = None


class _Pointer(msgspec.Struct):
    exchange: str | None = None
    event: int | None = None
    note: str | None = None


def checked_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest itself. Raises ValueError if a key that readers use has a value of a different type."""
    _convert(manifest, _ManifestShape)
    return manifest


def checked_pointers(evidence: Any) -> list[dict[str, Any]]:
    """The evidence of a check itself. Raises ValueError unless it is a list of pointers into exchanges."""
    _convert(evidence, list[_Pointer])
    pointers: list[dict[str, Any]] = evidence
    return pointers


def _convert(value: Any, shape: Any) -> None:
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError as problem:
        raise ValueError(str(problem)) from None
