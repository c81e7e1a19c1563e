"""The embedded server's OpenAPI description, made from the models that it validates with."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from harness import __version__
from harness.profiles.workflow_actions.request import WorkflowActionRequest

OPENAPI_PATH = "/openapi.json"
_PROBLEM = "application/problem+json"
_STREAM = "text/event-stream"


class Problem(BaseModel):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str


class RunState(BaseModel):
    """What became of a run that was asked to be cancelled."""

    runId: str  # noqa: N815 - the wire's spelling
    state: str


class FrameSchema(BaseModel):
    """One event of a stream: an id of the form <milliseconds>-<sequence>, and a RunEvent as JSON text."""

    id: Annotated[str, Field(pattern=r"^[0-9]+-[0-9]+$")]
    data: str


_REFUSALS = {
    "400": "The request cannot be read.",
    "401": "No token, or one that nobody has.",
    "403": "The organization is not the token's.",
    "404": "There is no such thing.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "The body is not what is described here.",
    "503": "The server holds as many runs as it can.",
}


def _refusals(*statuses: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _REFUSALS[status], "content": {_PROBLEM: {"schema": schema}}}
        for status in statuses
    }


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }


def _stream(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {_STREAM: {"schema": {"$ref": "#/components/schemas/Frame"}}},
    }


def _run_operation(name: str, summary: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [
            _header(
                "Idempotency-Key", "Same key and body resume the run; same key and another body are a 409."
            ),
            _header("Last-Event-ID", "The stream begins after that event."),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/WorkflowActionRequest"}}
            },
        },
        "responses": {
            "200": _stream("The run's events, ending with done, error or cancelled."),
            "409": _stream("One error event: the key was used with another body."),
            **_refusals("400", "401", "403", "413", "415", "422", "503"),
        },
    }


def openapi_document(path: str, other_path: str) -> dict[str, Any]:
    """The description of a server whose endpoint is at `path`, and the second one at `other_path`."""
    request = WorkflowActionRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = {**request.pop("$defs", {}), "WorkflowActionRequest": request}
    schemas |= {model.__name__: model.model_json_schema() for model in (FrameSchema, Problem, RunState)}
    cancel = {
        "operationId": "cancelRun",
        "summary": "Cancel a running run.",
        "parameters": [
            {"name": "runId", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        ],
        "responses": {
            "200": {
                "description": "What became of it.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RunState"}}},
            },
            **_refusals("400", "401", "404"),
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Embedded server of agent-run-harness", "version": __version__},
        "paths": {
            path: {
                "post": _run_operation(
                    "executeWorkflowAction", "Execute a workflow action and stream its events."
                )
            },
            other_path: {"post": _run_operation("createRun", "The same by its other route.")},
            f"{other_path}/{{runId}}/cancel": {"post": cancel},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }
