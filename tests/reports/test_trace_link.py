from __future__ import annotations

import pytest

from harness.reports.exchange_view import exchange_view
from harness.reports.trace_link import trace_link

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def test_a_trace_id_is_shown_and_linked_if_there_is_an_address() -> None:
    assert trace_link(TRACE_ID, None) == TRACE_ID
    linked = trace_link(TRACE_ID, 'https://t.example/{trace_id}?"><script>')
    assert linked == (
        f'<a href="https://t.example/{TRACE_ID}?&#34;&gt;&lt;script&gt;" rel="noreferrer">{TRACE_ID}</a>'
    )


@pytest.mark.parametrize("wrong", [None, 7, "", "<b>", TRACE_ID.upper(), TRACE_ID + "\n", [TRACE_ID]])
def test_what_is_not_a_trace_id_is_not_shown(wrong: object) -> None:
    assert trace_link(wrong, "https://t.example/{trace_id}") == ""
    assert exchange_view({"curl": "curl", "trace_id": wrong}).trace == ""


def test_the_evidence_of_a_traced_request_names_its_trace() -> None:
    document = {"curl": "curl", "trace_id": TRACE_ID}
    assert exchange_view(document).trace == TRACE_ID
    assert TRACE_ID in exchange_view(document, trace_url="https://t.example/{trace_id}").trace
