from __future__ import annotations

from harness.contract.rules import ids
from tests.cases import all_cases
from tests.contract.exchanges import EPOCH_MS, empty_stream, frame, run, whole_run
from tests.contract.exchanges import token as numbered
from tests.contract.rules.case import FAIL, INCONCLUSIVE, PASS, WARN, Case, case, check


def token(event_id: str | None) -> bytes:
    return frame({"type": "token", "content": "a"}, event_id)


ALL = [ids.present, ids.increasing, ids.unique, ids.clock]

CASES: list[Case] = [
    *(case(rule, empty_stream(), is_=INCONCLUSIVE, says="no run to check") for rule in ALL),
    case(ids.present, whole_run(), is_=PASS, says="every event has an id (4 events)"),
    case(
        ids.present,
        run(token("1-18446744073709551615"), token("18446744073709551615-0")),
        is_=PASS,
        says="(2 events)",
    ),
    case(
        ids.increasing,
        run(token("1-18446744073709551614"), token("1-18446744073709551615"), token("2-0")),
        is_=PASS,
        says="(3 ids)",
    ),
    case(
        ids.increasing,
        run(token("1-18446744073709551615"), token("1-18446744073709551614")),
        is_=FAIL,
        says="1-18446744073709551614 follows 1-18446744073709551615",
    ),
    case(ids.present, run(token("1-0"), token(None)), is_=FAIL, says="event 2 has no id", at=1),
    *(
        case(ids.present, run(token(bad)), is_=FAIL, says="is not of the form", at=0)
        for bad in ("", "1", "1-", "-1", "1-0-0", "a-0", "1_0", "0x1-0", "\uff11-0", "1" * 301 + "-0")
    ),
    case(ids.present, run(token("1-0"), b": beat\n\n", b"id: 2-0\n\n"), is_=PASS, says="(1 event)"),
    case(ids.increasing, whole_run(), is_=PASS, says="ids strictly increase (4 ids)"),
    case(ids.increasing, run(token("5-9"), token("5-10"), token("10-0")), is_=PASS, says="3 ids"),
    case(ids.increasing, run(token("5-10"), token("5-9")), is_=FAIL, says="id 5-9 follows 5-10", at=1),
    case(ids.increasing, run(token("5-1"), token("5-1")), is_=FAIL, says="id 5-1 follows 5-1", at=1),
    case(ids.increasing, run(token("9-0"), token("10-0"), token("9-1")), is_=FAIL, says="9-1", at=2),
    case(ids.increasing, run(token(None), token("x")), is_=INCONCLUSIVE, says="no event has an id"),
    case(
        ids.unique, run(token("1-0"), token("2-0"), token(None)), is_=PASS, says="no id appears twice (2 ids)"
    ),
    case(
        ids.unique,
        run(token("1-0"), token("2-0"), token("1-0")),
        is_=FAIL,
        says="id '1-0' appears twice",
        at=2,
    ),
    case(ids.unique, run(token(None)), is_=INCONCLUSIVE, says="no event has an id"),
    case(ids.clock, run(numbered(0), at=[40]), is_=PASS, says="within 40 ms of this machine's clock"),
    case(ids.clock, run(token(f"{EPOCH_MS + 299_000}-0")), is_=PASS, says="within 299000 ms"),
    case(ids.clock, run(token(f"{EPOCH_MS + 3_600_000}-0")), is_=WARN, says="more than 5 minutes", at=0),
    case(ids.clock, run(token(f"{EPOCH_MS - 301_000}-0")), is_=WARN, says="off the wall clock", at=0),
    case(ids.clock, run(token("x"), token("7-0")), is_=WARN, says="first id, 7-0, is more than", at=1),
    case(ids.clock, run(token("x")), is_=INCONCLUSIVE, says="no event has an id"),
    case(ids.clock, run(token("7-0"), sent_ms=None), is_=INCONCLUSIVE, says="at which the request was sent"),
]


@all_cases("example", CASES, ids=str)
def test_verdict(example: Case) -> None:
    check(example)


def test_the_ids_clock_is_known_only_where_both_clocks_are() -> None:
    assert ids.clock_offset_ms(run(token(f"{EPOCH_MS + 70}-3"), at=[20])) == 50.0
    assert ids.clock_offset_ms(run(token("1-0"))) is None
    assert ids.clock_offset_ms(run(token(f"{EPOCH_MS}-0"), sent_ms=None)) is None
