from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from harness.profiles.profile import Request
from harness.profiles.repeated import RepeatedRequest
from harness.profiles.requests import build
from harness.profiles.templates import new_uuid
from harness.protocol.request import HttpRequest

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
FIELDS = {"X-Request": "r-${uuid}", "X-Fixed": "${word}"}
JSON = Request(
    path="/runs",
    headers=FIELDS,
    json={
        "id": "${uuid}",
        "same": "${word}",
        "parts": [{"${uuid}": 1, "twice": "${uuid}/${uuid}"}, "ü"],
    },
)
FORM = Request(path="/runs", headers=FIELDS, form={"id": "${uuid}", "same": "${word}"})


def _ids(request: HttpRequest) -> list[str]:
    return _UUID.findall(_text(request))


def _text(request: HttpRequest) -> str:
    return repr((request.method, request.target, request.headers, request.body.decode()))


@pytest.mark.parametrize("part", [JSON, FORM], ids=["JSON", "form"])
def test_a_copy_is_what_would_have_been_built_with_other_ids(part: Request) -> None:
    def make(key: str, new_id: Callable[[], str] = new_uuid) -> HttpRequest:
        request = build(part, "/runs/${uuid}?of=${uuid}", {"word": "w & ü"}, (("A", "b"),), None, new_id)
        return request.with_header("Key", key)

    repeated = RepeatedRequest(make)
    built, *copies = make("own key"), repeated.copy("own key"), repeated.copy("own key")
    for copy in copies:
        assert copy.header("key") == "own key"
        assert _UUID.sub("ID", _text(copy)) == _UUID.sub("ID", _text(built))
        assert copy.values == built.values
        assert len(set(_ids(copy))) == len(_ids(built))
    assert not {*_ids(copies[0])} & {*_ids(copies[1])}


def test_a_key_that_is_no_id_goes_where_the_key_is() -> None:
    repeated = RepeatedRequest(lambda key, _: HttpRequest("POST", "/", (("Key", key), ("Other", "o")), b"{}"))
    assert repeated.copy("k").headers == (("Key", "k"), ("Other", "o"))
    assert repeated.copy("").headers == (("Key", ""), ("Other", "o"))
