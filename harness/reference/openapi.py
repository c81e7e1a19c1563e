"""The embedded server's OpenAPI description, generated from the models it validates with."""

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
    """The state of a run after a request to cancel it."""

    runId: str  # noqa: N815 - as on the wire
    state: str


class FrameSchema(BaseModel):
    """One event of a stream: an id of the form <milliseconds>-<sequence>, and a RunEvent as JSON."""

    id: Annotated[str, Field(pattern=r"^[0-9]+-[0-9]+$")]
    data: str


_REFUSALS = {
    "400": "The request cannot be read.",
    "401": "The token is missing or not valid.",
    "403": "The organization is not the token's.",
    "404": "Not found.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "The body does not match the schema.",
    "503": "The server is at its limit of runs.",
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
                "Idempotency-Key", "Same key and body resume the run; same key, different body is a 409."
            ),
            _header("Last-Event-ID", "The stream starts after that event."),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/WorkflowActionRequest"}}
            },
        },
        "responses": {
            "200": _stream("The run's events, ending with done, error or cancelled."),
            "409": _stream("One error event: the key was used with a different body."),
            **_refusals("400", "401", "403", "413", "415", "422", "503"),
        },
    }


def openapi_document(path: str, other_path: str) -> dict[str, Any]:
    """The description of a server with its endpoint at `path`, and a second one at `other_path`."""
    request = WorkflowActionRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = {**request.pop("$defs", {}), "WorkflowActionRequest": request}
    schemas |= {model.__name__: model.model_json_schema() for model in (FrameSchema, Problem, RunState)}
    cancel = {
        "operationId": "cancelRun",
        "summary": "Cancel a run in flight.",
        "parameters": [
            {"name": "runId", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        ],
        "responses": {
            "200": {
                "description": "The run's state.",
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
            other_path: {
                "post": _run_operation("createRun", "Execute a workflow action by the second route.")
            },
            f"{other_path}/{{runId}}/cancel": {"post": cancel},
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }
