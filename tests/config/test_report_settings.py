from __future__ import annotations

import pytest
from pydantic import ValidationError

from harness.config.report_settings import ReportSettings
from tests.cases import all_cases


@pytest.mark.parametrize(
    "template",
    [
        "https://grafana.example/trace/{trace_id}",
        "http://localhost:16686/trace/{trace_id}",
        'https://g.example/explore?left={"query":"{trace_id}"}',
        "https://t.example/#/{trace_id}",
    ],
)
def test_a_template_has_the_trace_id_after_its_host(template: str) -> None:
    assert ReportSettings(trace_url=template).trace_url == template


@all_cases(
    "template",
    [
        "",
        "https://grafana.example/trace/",
        "https://grafana.example/trace/{traceid}",
        "javascript:alert('{trace_id}')",
        "ftp://h/{trace_id}",
        "//h/{trace_id}",
        "https://{trace_id}.example/",
        "https://{trace_id}.example/{trace_id}",
        "https://me:secret@h/{trace_id}",
        "https://h/{trace_id} x",
        "https://h/{trace_id}\n",
        "https:///{trace_id}",
    ],
)
def test_any_other_address_is_refused(template: str) -> None:
    with pytest.raises(ValidationError, match=r"is not of the form http\[s\]://host/path") as refused:
        ReportSettings(trace_url=template)
    assert "me:secret" not in refused.value.errors()[0]["msg"]
