"""Numbers that no program expects, in every place where a server writes one: no conversion raises."""

from __future__ import annotations

import json
from itertools import product

import pytest

from harness.contract.evidence.document import document, excerpt, restore
from harness.contract.exchange import Ending, Exchange
from harness.contract.expectations import Expectations
from harness.contract.requirements import RULES
from harness.contract.rules.stream import check_stream, rules_for
from harness.load.stats.collector import Collector
from harness.load.stats.stream_metrics import RUN
from harness.setup.target_checks import check_clock_skew
from harness.suite.throttle import MAX_WAIT_S, retry_after_s
from tests.cases import all_cases
from tests.contract.exchanges import LAST_CHUNK, STREAM, chunk, head, scripted

NUMBERS = (
    "9" * 5000,
    "9" * 400,
    "9" * 20,
    "-" + "9" * 5000,
    "1e999",
    "-1e999",
    "1e-999",
    "1" + "0" * 400 + ".5",
    "1e" + "9" * 5000,
    "0." + "0" * 5000 + "1",
    "NaN",
    "Infinity",
    "-0",
    "\u0665",
    "0x10",
    "1_000",
    "",
)
FAR_DATES = (
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Fri, 31 Dec 9999999999999999999999 23:59:59 GMT",
    "Sun, 06 Nov 1994 08:49:37 +99999999999999999999",
    "Sun, 06 Nov 1994 08:49:37 -9999",
    "Sun, 06 Nov 1994 99:99:99 GMT",
    "Sun, 00 Nov 0000 00:00:00 GMT",
    "Sun, " + "9" * 5000 + " Nov 1994 08:49:37 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "06 Nov 1994",
    ":::",
)

PLACES = {
    "id": 'id: {0}-{0}\ndata: {{"type":"token","content":"a"}}\n\n',
    "id without a sequence": 'id: {0}\ndata: {{"type":"token","content":"a"}}\n\n',
    "retry": 'retry: {0}\ndata: {{"type":"token","content":"a"}}\n\n',
    "content": 'id: 1-0\ndata: {{"type":"token","content":{0}}}\n\n',
    "usage": 'id: 1-0\ndata: {{"type":"done","runId":"r","usage":{{"totalTokens":{0},"deep":[{0}]}}}}\n\n',
    "run id": 'id: 1-0\ndata: {{"type":"done","runId":{0}}}\n\n',
    "error code": 'id: 1-0\ndata: {{"type":"error","code":{0},"status":{0},"error":{0}}}\n\n',
    "type": 'id: 1-0\ndata: {{"type":{0}}}\n\n',
    "data": "data: {0}\n\n",
}
HEADS = ("Content-Length", "Retry-After", "Date", "Age", "X-RateLimit-Remaining", "RateLimit", "Keep-Alive")


def streams() -> dict[str, Exchange]:
    found: dict[str, Exchange] = {}
    for (place, form), number in product(PLACES.items(), NUMBERS):
        said = form.format(number).encode()
        end = b'id: 9-0\ndata: {"type":"done","runId":"r"}\n\n'
        fields = {**STREAM, "Transfer-Encoding": "chunked"}
        found[f"{place} {number[:12]}/{len(number)}"] = scripted(
            (0, head(200, fields)), (1, chunk(said)), (2, chunk(said)), (3, chunk(end) + LAST_CHUNK)
        )
    for number in (*NUMBERS, *FAR_DATES):
        for name in HEADS:
            found[f"{name} {number[:12]}/{len(number)}"] = scripted(
                (0, f"HTTP/1.1 503 No\r\n{name}: {number}\r\n\r\n".encode()), (1, b"{}")
            )
        for line in (f"HTTP/1.1 {number} No", f"HTTP/{number}.{number} 200 No"):
            found[f"{line[:20]}/{len(line)}"] = scripted(
                (0, f"{line}\r\n\r\n".encode()), ending=Ending.MALFORMED
            )
        found[f"chunk {number[:12]}/{len(number)}"] = scripted(
            (0, head(200, {**STREAM, "Transfer-Encoding": "chunked"})), (1, f"{number}\r\nx\r\n".encode())
        )
    return found


STREAMS = streams()


@pytest.mark.parametrize("place", [*PLACES, *HEADS, "HTTP/", "chunk"])
def test_no_number_is_too_much(place: str) -> None:
    chosen = [one for name, one in STREAMS.items() if name.startswith(place)]
    assert len(chosen) >= len(NUMBERS) - 2
    expect = Expectations()
    for one in chosen:
        stored = json.loads(json.dumps(document(one, base_url="http://h", secrets=["a-token-4711"])))
        again = restore(stored)
        excerpt(one, base_url="http://h", pointed_at=[0, 1])
        assert [one.outcome, one.run_id, one.describe()] == [again.outcome, again.run_id, again.describe()]
        for finding in (*check_stream(one, expect), *(rule(one, expect=expect) for rule in rules_for(one))):
            assert finding.detail
        assert 0 <= retry_after_s(one) <= MAX_WAIT_S
        assert check_clock_skew(one).detail
        collector = Collector("w")
        stream = collector.schedule("fresh", RUN)
        collector.end(stream, one)
        collector.finalize(stream, [])
        assert json.dumps(collector.take().to_message()["content"])


@all_cases("date", FAR_DATES)
def test_a_date_that_no_calendar_has_is_waited_for_within_bounds(date: str) -> None:
    for named in ("Retry-After", "Date"):
        other = "Date" if named == "Retry-After" else "Retry-After"
        fields = {named: date, other: "Sun, 06 Nov 1994 08:49:37 GMT", "Content-Length": "0"}
        assert 0 <= retry_after_s(scripted((0, head(503, fields)))) <= MAX_WAIT_S


def test_the_rules_of_one_stream_are_among_those_tried() -> None:
    assert len(rules_for(next(iter(STREAMS.values())))) > 10
    assert len(RULES) > 80
