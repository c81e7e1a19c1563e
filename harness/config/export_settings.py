"""The settings of what a load sends to an OpenTelemetry collector."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from harness.config.parsing import StrictModel, masked_address, parse_share

ShareFromZero = Annotated[float, BeforeValidator(parse_share), Field(ge=0, le=1, allow_inf_nan=False)]


class ExportSettings(StrictModel):
    """Where metrics and traces are sent during a load."""

    #: base URL of an OpenTelemetry collector that accepts OTLP over HTTP, for metrics
    otlp_endpoint: str | None = None
    #: base URL of an OpenTelemetry collector that accepts OTLP over HTTP, for the traces of journeys
    otlp_traces_endpoint: str | None = None
    #: the share of the journeys whose traces are sent, in addition to the slowest and the failed
    trace_share: ShareFromZero = 0.01
    #: the version of OpenTelemetry's GenAI conventions whose names the spans of runs have too
    genai_conventions: Literal["1.41"] | None = None

    @field_validator("otlp_endpoint", "otlp_traces_endpoint")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", value):
            raise ValueError(
                f"{masked_address(value)} is not of the form http[s]://host:port; write for example "
                f"http://localhost:4318, and put secrets into OTEL_EXPORTER_OTLP_HEADERS"
            )
        return value
