import json
import uuid

import pytest
from pydantic import ValidationError

from harness.profiles.workflow_actions.request import WorkflowActionRequest, new_key
from harness.protocol.request import HttpRequest
from tests.cases import all_cases

ACTION = {"toolId": "t", "toolName": "T", "aiDescription": "d", "runtimeScope": "s"}
BODY = {"organizationId": "o", "sessionId": "s", "workflowAction": ACTION}
FULL = BODY | {
    "workflowAction": ACTION | {"depth": 3, "nested": {"a": [None, 1.5]}},
    "fileThreadId": "f",
    "previousOutputs": [{"a": {"b": [1]}}, {}],
    "userTimezone": "America/New_York",
    "runId": "r",
    "source": "api",
    "beyond": True,
}


class TestWorkflowActionRequest:
    @pytest.mark.parametrize("body", [BODY, FULL])
    def test_documented_bodies(self, body):
        request = WorkflowActionRequest.model_validate_json(json.dumps(body))
        assert request.model_dump(exclude_unset=True) == body

    def test_omitted_fields_are_none(self):
        request = WorkflowActionRequest.model_validate(BODY)
        assert (request.fileThreadId, request.previousOutputs, request.userTimezone) == (None, None, None)
        assert (request.runId, request.source) == (None, None)

    @pytest.mark.parametrize("field", ["organizationId", "sessionId", "workflowAction"])
    def test_required_fields(self, field):
        self.refuses({name: value for name, value in BODY.items() if name != field}, field)
        self.refuses(BODY | {field: None}, field)

    @pytest.mark.parametrize("field", list(ACTION))
    def test_required_fields_of_the_action(self, field):
        action = {name: value for name, value in ACTION.items() if name != field}
        self.refuses(BODY | {"workflowAction": action}, "workflowAction", field)

    @all_cases(
        ("field", "value"),
        [
            ("organizationId", 1),
            ("sessionId", ["s"]),
            ("workflowAction", "run"),
            ("workflowAction", [ACTION]),
            ("fileThreadId", 5),
            ("previousOutputs", {}),
            ("previousOutputs", "x"),
            ("userTimezone", 1),
            ("runId", 1),
            ("source", "API"),
            ("source", ""),
        ],
    )
    def test_nothing_is_converted(self, field, value):
        self.refuses(BODY | {field: value}, field)

    def test_previous_outputs_are_objects(self):
        self.refuses(BODY | {"previousOutputs": [{}, "x"]}, "previousOutputs", 1)

    @staticmethod
    def refuses(body, *place):
        with pytest.raises(ValidationError) as raised:
            WorkflowActionRequest.model_validate_json(json.dumps(body))
        assert [error["loc"] for error in raised.value.errors()] == [place]


class TestHttpRequest:
    def test_post_json(self):
        request = HttpRequest.post_json("/x", (("A", "b"),), {"text": "\u20ac\u2028", "n": [1, None]})
        assert (request.method, request.target, request.headers) == ("POST", "/x", (("A", "b"),))
        assert request.body == '{"text": "\u20ac\u2028", "n": [1, null]}'.encode()
        assert request.json() == {"text": "\u20ac\u2028", "n": [1, None]}

    def test_header_is_case_insensitive(self):
        request = HttpRequest("GET", "/", (("X-Key", "1"), ("x-key", "2"), ("Empty", "")))
        assert (request.header("X-KEY"), request.header("empty"), request.header("none")) == ("1", "", None)

    def test_with_header_replaces_all_case_insensitively(self):
        request = HttpRequest("GET", "/", (("X-Key", "1"), ("A", "b"), ("x-key", "2")), b"body")
        changed = request.with_header("X-KEY", "3")
        assert changed == HttpRequest("GET", "/", (("A", "b"), ("X-KEY", "3")), b"body")
        assert request.headers == (("X-Key", "1"), ("A", "b"), ("x-key", "2"))

    def test_with_header_adds_or_removes(self):
        request = HttpRequest("GET", "/", (("A", "b"),))
        assert request.with_header("C", "").headers == (("A", "b"), ("C", ""))
        assert request.with_header("a", None).headers == ()
        assert request.with_header("none", None) == request

    def test_with_json_changes_only_the_body(self):
        request = HttpRequest.post_json("/x", (("A", "b"),), {"a": 1})
        assert request.with_json({"a": 2}) == HttpRequest("POST", "/x", (("A", "b"),), b'{"a": 2}')

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"'a'"])
    def test_a_body_that_is_not_json(self, body):
        with pytest.raises(ValueError, match=r"."):
            HttpRequest("POST", "/", (), body).json()


def test_new_keys_are_distinct_uuids():
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(str(uuid.UUID(key)) == key and uuid.UUID(key).version == 4 for key in keys)
