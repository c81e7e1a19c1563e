"""`harness init` for APIs that a curl command or an option names, and `harness profile init`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.config.sources import load_settings
from harness.profiles import library
from harness.setup.curl import read_curl
from harness.setup.other_api import draft_of_curl
from tests.forked import embedded_server
from tests.profiles.test_captures import CAPTURES

BODY = '{"model":"m-1","messages":[{"role":"user","content":"Hello you"}],"temperature":0.5,"stream":true}'


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with embedded_server(profile="openai-chat") as base_url:
        yield base_url


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str, token: str | None = "demo-token") -> Result:
    return CliRunner(env={"HARNESS_TARGET__TOKEN": token}).invoke(main, words)


def curl(folder: Path, url: str, more: str = "", body: str = BODY) -> str:
    (folder / "run.sh").write_text(f"curl {url}/v1/chat/completions {more} -d '{body}'\n")
    return "run.sh"


def assert_refused(done: Result, sentence: str) -> None:
    assert done.exit_code == 2, done.output
    assert sentence in done.stderr.strip().splitlines()[-1]
    assert not Path("harness.toml").exists()


def test_a_curl_command_of_another_api_is_recognized(folder: Path, url: str) -> None:
    file = curl(folder, url, "-H 'Authorization: Bearer demo-token' -H 'X-Team: a'")
    done = run("init", "--from-curl", file, token=None)
    assert done.exit_code == 0, done.output
    target = load_settings().target
    assert (target.base_url, target.profile, target.path) == (url, "openai-chat", "/v1/chat/completions")
    assert (target.variables, target.actions.success, target.body) == (
        {"model": "m-1"},
        "Hello you",
        {"temperature": 0.5},
    )
    text = (folder / "harness.toml").read_text()
    assert "demo-token" not in text
    assert "X-Team" in text
    assert "export HARNESS_TARGET__TOKEN" in done.stderr
    assert "done" in done.stderr


def test_an_option_names_the_api(folder: Path, url: str) -> None:
    done = run("init", "--target", url, "--profile", "openai-chat", "--model", "m-2")
    assert done.exit_code == 0, done.output
    target = load_settings().target
    assert (target.base_url, target.profile, target.variables) == (url, "openai-chat", {"model": "m-2"})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--profile", "openai-chat"), "--profile openai-chat needs --target URL, or --from-curl"),
        (("--target", "URL", "--profile", "openai-chat"), "needs the variable model"),
        (("--target", "URL", "--model", "m"), "--model and --var are for other profiles: use --profile NAME"),
        (("--from-curl", "run.sh", "--profile", "ag-ui"), "is of the profile openai-chat, not of ag-ui"),
        (
            ("--from-curl", "run.sh", "--action", "success={}"),
            "are for workflow-actions, not for openai-chat",
        ),
        (("--from-curl", "run.sh", "--path", "/other"), "is not an endpoint"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    folder: Path, url: str, words: tuple[str, ...], sentence: str
) -> None:
    curl(folder, url)
    assert_refused(run("init", *(url if word == "URL" else word for word in words)), sentence)


def test_no_secret_of_the_command_is_written_or_shown(folder: Path, url: str) -> None:
    body = BODY.replace('"m-1"', '"demo-token"')
    file = curl(folder, url, "-H 'Authorization: Bearer demo-token'", body=body)
    assert_refused(run("init", "--from-curl", file, token=None), "also contains the token")
    assert_refused(
        run("init", "--from-curl", file, "--path", "/v1/chat/completions?api-key=s3cret"), "also contains"
    )
    file = curl(folder, url)
    done = run("init", "--from-curl", file, "--path", "/v1/chat/completions?api-key=s3cret")
    assert_refused(done, "the path has a secret in its query, the value of api-key")
    assert "s3cret" not in done.output


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"", "cannot be reached: the server closed the connection before a response"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\n",
            "did not end properly",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: {}\n",
            "does not end as",
        ),
    ],
)
def test_an_answer_that_is_no_whole_stream_is_named(folder: Path, answer: bytes, sentence: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        done = run("init", "--target", address, "--profile", "openai-chat", "--model", "m")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert sentence in done.stderr
    assert done.exit_code == (0 if answer else 2)
    assert Path("harness.toml").exists() == bool(answer)


def test_a_token_that_only_the_command_names_is_not_read(folder: Path, url: str) -> None:
    file = curl(folder, url, '-H "Authorization: Bearer $SECRET"')
    assert_refused(
        run("init", "--from-curl", file, token=None), "the token of the curl command is in $SECRET"
    )


def test_a_profile_is_drafted_from_a_request_and_its_answer(folder: Path) -> None:
    (folder / "run.sh").write_text("""curl http://h/api/runs -d '{"input":"Hello","thread":null}'\n""")
    done = run("profile", "init", "--from-curl", "run.sh", str(CAPTURES / "agui/success.http"))
    assert done.exit_code == 0, done.output
    (folder / "mine.toml").write_text(done.stdout)
    assert "the answer also fits ag-ui" in done.stderr
    assert "not in the draft, because TOML has no null: thread" in done.stderr
    checked = run("profile", "check", "./mine.toml", str(CAPTURES / "agui/success.http"))
    assert checked.exit_code == 0, checked.output


def test_a_profile_that_exists_is_named(folder: Path) -> None:
    file = curl(folder, "http://h")
    done = run("profile", "init", "--from-curl", file, str(CAPTURES / "litellm-chat/success.http"))
    assert (done.exit_code, done.stdout) == (0, "")
    assert "are those of the profile openai-chat; use --profile openai-chat" in done.stderr


def test_an_answer_that_is_no_stream_is_refused(folder: Path) -> None:
    file = curl(folder, "http://h")
    no_stream = run("profile", "init", "--from-curl", file, str(CAPTURES / "agno/auth-bad.http"))
    assert_refused(
        no_stream,
        "has no event stream (status 401, Content-Type application/json): the harness reads text/event-stream",
    )
    silent = run("profile", "init", "--from-curl", file, str(CAPTURES / "aimock-responses/silent.http"))
    assert_refused(silent, "record the answer to a longer prompt")


FORM = "-F message='Hello you' -F stream=true -F user_id=u"


def test_the_form_of_a_known_api_is_recognized(folder: Path) -> None:
    command = f"curl http://h/agents/echo/runs {FORM}"
    draft = draft_of_curl(read_curl(command))
    assert draft is not None
    assert draft.target() == {
        "base_url": "http://h",
        "profile": "agno",
        "variables": {"agent": "echo"},
        "actions": {"success": "Hello you"},
    }
    assert "form that the profile agno does not send: user_id" in draft.notes[0]
    (folder / "run.sh").write_text(command)
    done = run("profile", "init", "--from-curl", "run.sh", str(CAPTURES / "agno/success.http"))
    assert "are those of the profile agno" in done.stderr


def test_a_profile_is_drafted_from_a_form(folder: Path) -> None:
    (folder / "run.sh").write_text(f"curl http://h/api/runs {FORM}")
    done = run("profile", "init", "--from-curl", "run.sh", str(CAPTURES / "agui/success.http"))
    assert done.exit_code == 0, done.output
    drafted = library.parse(done.stdout, "the draft").run
    assert (drafted.form, drafted.form_as, drafted.json_body) == (
        {"message": "${prompt}", "stream": "true", "user_id": "u"},
        "multipart",
        None,
    )


def test_settings_are_not_written_from_the_form_of_an_unknown_api(folder: Path) -> None:
    (folder / "run.sh").write_text(f"curl http://h/api/runs {FORM}")
    assert_refused(run("init", "--from-curl", "run.sh"), "sends a form, and no profile has such a request")
