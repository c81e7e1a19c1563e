"""The documented request of ``POST /agent/workflow-actions``, and new idempotency keys."""

from __future__ import annotations

import uuid
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue


class WorkflowAction(BaseModel):
    """The action of a run: four documented fields and any action-specific parameters."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    toolId: str  # noqa: N815 - as on the wire, here and below
    toolName: str  # noqa: N815
    aiDescription: str  # noqa: N815
    runtimeScope: str  # noqa: N815


class WorkflowActionRequest(BaseModel):
    """Body of ``POST /agent/workflow-actions``."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    organizationId: str  # noqa: N815
    sessionId: str  # noqa: N815
    workflowAction: WorkflowAction  # noqa: N815
    fileThreadId: str | None = None  # noqa: N815
    previousOutputs: list[dict[str, JsonValue]] | None = None  # noqa: N815
    userTimezone: str | None = None  # noqa: N815
    runId: str | None = None  # noqa: N815
    source: Literal["automation", "api", "other"] | None = None


PREVIOUS_OUTPUT = {"output": "{text}"}
"""An entry of previousOutputs. The documentation names no fields, so users may set their own."""


def new_key() -> str:
    """A new Idempotency-Key; the documentation recommends a UUID."""
    return str(uuid.uuid4())
