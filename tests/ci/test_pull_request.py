"""The comment is posted once and then updated, on GitHub and on GitLab."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from harness.ci.comment import comment_without_results
from harness.ci.pull_request import CommentThread, PostError
from harness.commands.comment import run_comment
from harness.errors import SettingsError

BOT = {"user": {"type": "Bot"}, "author_association": "NONE"}


@dataclass
class Forge:
    """The comments of one pull request, behind the paths of both APIs."""

    comments: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    url: str = ""


PATHS = re.compile(
    r"/api/(repos/acme/agent/issues/(\d+/)?comments|projects/9/merge_requests/5/notes)(/(?P<id>\d+))?(\?.*)?"
)


@pytest.fixture
def forge() -> Iterator[Forge]:
    state = Forge()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            found = PATHS.fullmatch(self.path)
            state.asked.append((self.command, self.path))
            state.headers.append(dict(self.headers))
            length = int(self.headers.get("Content-Length", "0"))
            body = json.loads(self.rfile.read(length) or "null")
            result: Any = {}
            if found is None or state.status != 200:
                self.send_response(state.status if found else 404)
            else:
                self.send_response(200)
                result = self.act(found["id"], body)
            text = json.dumps(result).encode()
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def act(self, number: str | None, body: Any) -> Any:
            if self.command == "GET":
                page = int(re.search(r"[?&]page=(\d+)", self.path)[1])
                return state.comments[(page - 1) * 100 : page * 100]
            if self.command == "POST":
                state.comments.append({"id": len(state.comments) + 1, **BOT, **body})
            else:
                state.comments[int(number or 0) - 1].update(body)
            return {}

        do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}/api"
        yield state
        server.shutdown()


def environment(forge: Forge, system: str, folder: Path) -> dict[str, str]:
    if system == "gitlab":
        return {
            "GITLAB_CI": "true",
            "CI_API_V4_URL": forge.url,
            "CI_MERGE_REQUEST_IID": "5",
            "CI_MERGE_REQUEST_PROJECT_ID": "9",
            "CI_JOB_NAME": "agent-runs",
            "GITLAB_TOKEN": "forge-token",
        }
    event = folder / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 12}}))
    return {
        "GITHUB_ACTIONS": "true",
        "GITHUB_API_URL": forge.url,
        "GITHUB_REPOSITORY": "acme/agent",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_JOB": "agent-runs",
        "GITHUB_TOKEN": "forge-token",
    }


def written(folder: Path, given: dict[str, str], verdict: str) -> Path:
    path = folder / "comment.md"
    path.write_text(f"{comment_without_results(given)}{verdict}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("system", ["github", "gitlab"])
def test_a_comment_is_added_and_then_updated(
    tmp_path: Path, forge: Forge, system: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = environment(forge, system, tmp_path)
    forge.comments = [
        {"id": 1, "body": "of a person", "author_association": "NONE", "user": {"type": "User"}}
    ]
    run_comment(written(tmp_path, given, "red"), given)
    run_comment(written(tmp_path, given, "green ü"), given)
    assert capsys.readouterr().out.splitlines() == ["comment: added", "comment: updated"]
    assert [one["body"].splitlines()[-1] for one in forge.comments] == ["of a person", "green ü"]
    secret = "Private-Token" if system == "gitlab" else "Authorization"
    assert all("forge-token" in str({k.title(): v for k, v in one.items()}[secret]) for one in forge.headers)


def test_the_comment_of_another_job_stays(tmp_path: Path, forge: Forge) -> None:
    given = environment(forge, "github", tmp_path)
    run_comment(written(tmp_path, given, "one"), given)
    other = {**given, "GITHUB_JOB": "other"}
    run_comment(written(tmp_path, other, "two"), other)
    assert [one["body"].splitlines()[-1] for one in forge.comments] == ["one", "two"]


def test_it_is_found_behind_many_others(tmp_path: Path, forge: Forge) -> None:
    given = environment(forge, "github", tmp_path)
    path = written(tmp_path, given, "new")
    forge.comments = [{"id": number, "body": "x", **BOT} for number in range(1, 201)]
    forge.comments[149]["body"] = path.read_text().replace("new", "old")
    run_comment(path, given)
    assert len(forge.comments) == 200
    assert forge.comments[149]["body"].endswith("new\n")


def test_a_strangers_comment_with_the_marker_is_not_changed(tmp_path: Path, forge: Forge) -> None:
    given = environment(forge, "github", tmp_path)
    path = written(tmp_path, given, "new")
    forge.comments = [
        {"id": 1, "body": path.read_text(), "user": {"type": "User"}, "author_association": "NONE"}
    ]
    before = forge.comments[0]["body"]
    run_comment(path, given)
    assert len(forge.comments) == 2
    assert forge.comments[0]["body"] == before


def test_a_test_that_could_not_run_replaces_the_earlier_verdict(tmp_path: Path, forge: Forge) -> None:
    given = environment(forge, "github", tmp_path)
    run_comment(written(tmp_path, given, "passed"), given)
    run_comment(tmp_path / "missing.md", given)
    (only,) = forge.comments
    assert "Agent runs: incomplete" in only["body"]
    assert "passed" not in only["body"]


@pytest.mark.parametrize("system", ["github", "gitlab"])
def test_outside_a_pull_request_nothing_is_posted(
    tmp_path: Path, forge: Forge, system: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = environment(forge, system, tmp_path)
    given.pop("CI_MERGE_REQUEST_IID", None)
    if system == "github":
        Path(given["GITHUB_EVENT_PATH"]).write_text('{"ref": "refs/heads/main"}')
    run_comment(written(tmp_path, given, "x"), given)
    assert forge.asked == []
    assert "nothing is posted" in capsys.readouterr().out


@pytest.mark.parametrize("system", ["github", "gitlab"])
def test_a_token_without_permission_is_one_sentence(tmp_path: Path, forge: Forge, system: str) -> None:
    given = environment(forge, system, tmp_path)
    forge.status = 403
    with pytest.raises(PostError, match="answered 403 to GET") as problem:
        run_comment(written(tmp_path, given, "x"), given)
    assert "forge-token" not in str(problem.value)
    with pytest.raises(SettingsError, match="_TOKEN is not set"):
        run_comment(written(tmp_path, given, "x"), {k: v for k, v in given.items() if "TOKEN" not in k})


def test_an_api_that_does_not_answer_is_one_sentence(tmp_path: Path, forge: Forge) -> None:
    given = {**environment(forge, "gitlab", tmp_path), "CI_API_V4_URL": "http://127.0.0.1:1/api"}
    with pytest.raises(PostError, match="cannot post the comment"):
        run_comment(written(tmp_path, given, "x"), given)


def test_other_text_is_not_posted(tmp_path: Path, forge: Forge) -> None:
    given = environment(forge, "github", tmp_path)
    (tmp_path / "other.md").write_text("# Readme\n")
    with pytest.raises(SettingsError, match="is not a comment of the harness"):
        run_comment(tmp_path / "other.md", given)
    with pytest.raises(SettingsError, match="GitHub and GitLab only"):
        run_comment(written(tmp_path, given, "x"), {})
    assert forge.asked == []


@pytest.mark.parametrize(
    ("comments", "says"),
    [
        ({"message": "no"}, "did not answer with a list"),
        ("text", "did not answer with a list"),
        (7, "did not answer with a list"),
        (None, "did not answer with a list"),
        ([7, None, "text", [], {}, {"id": "x"}, {"id": True}, {"id": 1, "user": None, "body": None}], ""),
        ([{"id": 1, "user": "ghost", "body": ["x"], "author_association": 7}], ""),
    ],
)
def test_an_api_that_answers_with_something_else(
    tmp_path: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch, comments: Any, says: str
) -> None:
    given = environment(forge, "github", tmp_path)
    asked = []

    def ask(_: CommentThread, method: str, *__: Any) -> Any:
        asked.append(method)
        return comments

    monkeypatch.setattr(CommentThread, "_ask", ask)
    if says:
        with pytest.raises(PostError, match=says):
            run_comment(written(tmp_path, given, "x"), given)
    else:
        run_comment(written(tmp_path, given, "x"), given)
    assert asked == (["GET"] if says else ["GET", "POST"])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[" * 100_000, "did not answer with JSON"),
        (b"\xff\xfe\x00", "did not answer with JSON"),
        (b"[" + b" " * 3000 + b"]", "more than 0 MiB"),
    ],
)
def test_an_api_that_answers_with_too_much(
    tmp_path: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch, body: bytes, says: str
) -> None:
    given = environment(forge, "github", tmp_path)
    if says.startswith("more"):
        monkeypatch.setattr("harness.ci.pull_request._MOST_BYTES", 1000)
    monkeypatch.setattr("json.dumps", lambda *_, **__: body.decode("latin-1"))
    with pytest.raises(PostError, match=says):
        run_comment(tmp_path / "missing.md", given)


@pytest.mark.parametrize(
    "event",
    [
        "[" * 100_000,
        "[]",
        '{"pull_request": {"number": 1e999}}',
        '{"pull_request": {"number": true}}',
        '{"pull_request": 7}',
        "\ufeff{",
    ],
)
def test_an_event_file_of_something_else_is_no_pull_request(
    tmp_path: Path, forge: Forge, event: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = environment(forge, "github", tmp_path)
    Path(given["GITHUB_EVENT_PATH"]).write_text(event)
    run_comment(written(tmp_path, given, "x"), given)
    assert forge.asked == []
    assert "nothing is posted" in capsys.readouterr().out


@pytest.mark.parametrize(
    "variable", ["GITHUB_API_URL", "GITHUB_REPOSITORY", "CI_API_V4_URL", "CI_MERGE_REQUEST_PROJECT_ID"]
)
def test_a_job_without_its_variables_is_one_sentence(tmp_path: Path, forge: Forge, variable: str) -> None:
    given = environment(forge, "github" if variable.startswith("GITHUB") else "gitlab", tmp_path)
    del given[variable]
    with pytest.raises(SettingsError, match=f"{variable} is not set"):
        run_comment(written(tmp_path, given, "x"), given)
