from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import pytest

from harness.profiles.profile import Request
from harness.profiles.requests import build
from harness.protocol.request import HttpRequest

VALUES = {"prompt": "a ü & b", "n": 3, "tags": ["x"]}


def built(part: dict[str, Any], values: dict[str, Any] = VALUES, **options: Any) -> HttpRequest:
    request = Request.model_validate({"path": "/runs", **part})
    return build(request, request.path, values, **options)


def test_a_json_body_keeps_types_and_gets_further_members() -> None:
    template = {"text": "say ${prompt}", "n": "${n}", "tags": "${tags}"}
    request = built({"json": template}, json_members={"extra": True})
    assert request.header("content-type") == "application/json"
    assert request.json() == {"text": "say a ü & b", "n": 3, "tags": ["x"], "extra": True}
    assert request.values == VALUES


def test_an_urlencoded_form() -> None:
    request = built({"form": {"q": "${prompt}", "n": "${n}", "tags": "${tags}"}})
    assert request.header("content-type") == "application/x-www-form-urlencoded"
    assert parse_qs(request.body.decode()) == {"q": ["a ü & b"], "n": ["3"], "tags": ['["x"]']}


def test_a_multipart_form() -> None:
    request = built({"form": {"q": "${prompt}"}, "form_as": "multipart"})
    kind, _, boundary = request.header("content-type").partition("; boundary=")  # type: ignore[union-attr]
    assert kind == "multipart/form-data"
    name, _, text = request.body.decode().partition("\r\n\r\n")
    assert name == f'--{boundary}\r\nContent-Disposition: form-data; name="q"'
    assert text == f"a ü & b\r\n--{boundary}--\r\n"


def test_a_path_is_quoted_where_values_are() -> None:
    request = built({"method": "GET", "path": "/a/${id}/b?q=${prompt}"}, {**VALUES, "id": "x/../y"})
    assert (request.method, request.target) == ("GET", "/a/x%2F..%2Fy/b?q=a%20%C3%BC%20%26%20b")
    assert request.body == b""
    assert request.header("content-type") is None


def test_the_part_replaces_header_fields_of_every_request() -> None:
    request = built({"headers": {"Accept": "*/*", "X-N": "${n}"}}, headers=(("Accept", "text/event-stream"),))
    assert (request.header("accept"), request.header("x-n")) == ("*/*", "3")


def test_each_uuid_is_new() -> None:
    one = built({"json": {"a": "${uuid}", "b": "${uuid}"}}).json()
    assert one["a"] != one["b"]


def test_a_placeholder_without_a_value() -> None:
    with pytest.raises(KeyError, match="missing"):
        built({"json": {"a": "${missing}"}})


@pytest.mark.parametrize("text", ["a\r\nX-B: c", "a\x00b", "a\x7f"])
def test_a_header_field_that_cannot_be_sent(text: str) -> None:
    with pytest.raises(ValueError, match="the header field X-A would have a value with a line break"):
        built({"headers": {"X-A": "${text}"}}, {"text": text})
