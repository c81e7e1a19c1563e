"""Which id a request to resume names, wherever the profile puts it."""

from __future__ import annotations

from harness.profiles import library
from harness.profiles.named_id import named_id
from harness.protocol.request import HttpRequest
from tests.cases import all_cases
from tests.profiles.background import background_text

MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="session_id"\r\n\r\ns-1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="last_event_index"\r\n\r\n41\r\n--b--\r\n'
)
MINE = """
name = "mine"
run = { path = "/", json = {} }
events = { token = "t", done = "d", run_id = "data.run" }
ids = { at = "id" }
resume = { from = "after", path = "/${run_id}", json = { after = { id = "${last_id}" } } }
"""

BACKGROUND = background_text()


@all_cases(
    ("profile", "request_", "expected"),
    [
        ("workflow-actions", HttpRequest("POST", "/", (("Last-Event-ID", "7-0"),)), "7-0"),
        ("workflow-actions", HttpRequest("POST", "/", ()), None),
        ("langgraph", HttpRequest("GET", "/threads/a/runs/b/stream", (("last-event-id", "9-1"),)), "9-1"),
        (BACKGROUND, HttpRequest("GET", "/v1/responses/r?stream=true&starting_after=12", ()), "12"),
        (BACKGROUND, HttpRequest("GET", "/v1/responses/r?stream=true&starting_after=", ()), None),
        (BACKGROUND, HttpRequest("POST", "/v1/responses", ()), None),
        ("agno", HttpRequest("POST", "/", (("Content-Type", "multipart/form-data; boundary=b"),), MULTIPART), "41"),
        ("agno", HttpRequest("POST", "/", (), b"last_event_index=8&session_id=s"), "8"),
        ("agno", HttpRequest("POST", "/", (), b"message=hi"), None),
        ("openai-chat", HttpRequest("POST", "/", (("Last-Event-ID", "7-0"),)), None),
        (MINE, HttpRequest("POST", "/r", (), b'{"after": {"id": 5}}'), "5"),
        (MINE, HttpRequest("POST", "/r", (), b'{"after": null}'), None),
        (MINE, HttpRequest("POST", "/r", (), b"no JSON"), None),
    ],
)  # fmt: skip
def test_the_id_that_a_request_names(profile: str, request_: HttpRequest, expected: str | None) -> None:
    loaded = library.parse(profile, "mine.toml") if "\n" in profile else library.load(profile)
    assert named_id(loaded, request_) == expected
