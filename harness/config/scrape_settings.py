"""The settings of the server's own metrics, which are read during a load."""

from __future__ import annotations

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from harness.config.parsing import StrictModel

_ADDRESS = re.compile(r"https?://[^/?#@\s]+(/[^?#@\s]*)?")
_PATTERN = re.compile(r"[a-zA-Z0-9_:*?]{1,200}")


class ScrapeSettings(StrictModel):
    """Which of the server's metrics are read, once a second."""

    #: the address of the server's metrics in the Prometheus text format, for example http://localhost:8000/metrics
    url: str | None = None
    #: the names of the metrics to keep, with * for any characters, for example ["vllm:num_requests_*"]
    match: tuple[str, ...] = Field((), max_length=50)

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not _ADDRESS.fullmatch(value):
            raise ValueError(
                "it is not of the form http[s]://host[:port]/path, without user name and query; write for example "
                "http://localhost:8000/metrics"
            )
        return value

    @field_validator("match")
    @classmethod
    def _are_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not _PATTERN.fullmatch(pattern):
                raise ValueError(
                    f"{pattern[:60]!r} is not the name of a metric; write letters, digits, _ and :, and * for any"
                )
        return value

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.url is not None and not self.match:
            raise ValueError(
                'match is missing, the names of the metrics to keep; write for example match = ["http_*"]'
            )
        if self.url is None and self.match:
            raise ValueError("url is missing, the address of the metrics")
        return self
