"""The settings of the report."""

from __future__ import annotations

from pydantic import Field, field_validator

from harness.config.parsing import StrictModel, masked_address
from harness.results.trace_url import LONGEST, TRACE_ID, is_trace_url


class ReportSettings(StrictModel):
    """What the report links to."""

    #: the address of a trace, to which the report's slowest runs link, for example
    #: "https://grafana.example/trace/{trace_id}"
    trace_url: str | None = Field(None, max_length=LONGEST)

    @field_validator("trace_url")
    @classmethod
    def _is_template(cls, value: str | None) -> str | None:
        if value is not None and not is_trace_url(value):
            raise ValueError(
                f"{masked_address(value)} is not of the form http[s]://host/path with {TRACE_ID} after the host, "
                f"without user name and blanks; write for example https://grafana.example/trace/{TRACE_ID}"
            )
        return value
