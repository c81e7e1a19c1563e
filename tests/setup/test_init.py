"""`harness init` against servers written without any of the harness's code."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from harness.cli import main
from harness.config.sources import load_settings
from harness.errors import SettingsError
from harness.setup.init import first_draft, run_init
from harness.setup.probe import unsuitable
from harness.setup.prompts import NoPrompt
from tests.contract.exchanges import done as done_event
from tests.contract.exchanges import run, token
from tests.forked import embedded_server
from tests.setup.acme_server import ORGANIZATION, PATH, TOKEN, Acme
from tests.setup.servers import acme, answering
from tests.transport.servers import Authority, authority  # noqa: F401 - a fixture


def action(tool: str, **more: Any) -> dict[str, Any]:
    return {"toolId": tool, "toolName": tool, "aiDescription": "…", "runtimeScope": "prod", **more}


SUMMARISE = f"success={json.dumps(action('summarise'))}"
CRAWL = f"long={json.dumps(action('crawl'))}"


@pytest.fixture
def server() -> Iterator[tuple[Acme, str]]:
    with acme() as running:
        yield running


def init(*options: str, token: str | None = TOKEN) -> Result:
    return CliRunner(env={"HARNESS_TARGET__TOKEN": token}).invoke(main, ["init", *options])


def assert_refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 2, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("harness: "), result.output
    for part in parts:
        assert part in last
    assert not Path("harness.toml").exists()


def test_flags_alone(server: tuple[Acme, str]) -> None:
    running, url = server
    done = init(
        "--target", url + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE, "--action", CRAWL
    )
    assert done.exit_code == 0, done.output
    target = load_settings().target
    assert (target.base_url, target.path, target.organization_id) == (url, PATH, ORGANIZATION)
    assert (target.conflict, target.resume_start, target.last_event_id) == ("event", "replay", True)
    assert target.actions.success == action("summarise")
    assert target.actions.long == action("crawl")
    assert target.actions.failure is None
    assert target.token is None
    assert TOKEN not in Path("harness.toml").read_text()
    assert TOKEN not in done.output
    assert "harness doctor" in done.stderr
    assert done.stdout == ""
    # summarise and crawl once each, and crawl once more to be cut; everything else reuses their keys
    assert running.started == 3


def test_a_curl_command_alone(server: tuple[Acme, str]) -> None:
    running, url = server
    body = {
        "organizationId": ORGANIZATION,
        "sessionId": "s",
        "source": "api",
        "workflowAction": action("crawl"),
    }
    Path("run.sh").write_text(
        f"curl -N {url}{PATH} -H 'Authorization: Bearer {TOKEN}' -H 'X-Trace: 1' -d '{json.dumps(body)}'"
    )
    done = init("--from-curl", "run.sh", token=None)
    assert done.exit_code == 0, done.output
    target = load_settings().target
    assert (target.base_url, target.path, target.organization_id) == (url, PATH, ORGANIZATION)
    assert target.actions.success == target.actions.long == action("crawl")
    assert target.body == {"source": "api"}
    assert target.resume_start == "replay"
    text = Path("harness.toml").read_text()
    assert TOKEN not in text
    assert "X-Trace" in text
    assert running.started == 2


def test_once_is_once(server: tuple[Acme, str]) -> None:
    running, url = server
    done = init("--target", url + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE, "--once")
    assert done.exit_code == 0, done.output
    assert (running.started, running.requests) == (1, 2)
    assert load_settings().target.conflict == "any"


def test_the_embedded_server() -> None:
    with embedded_server() as base_url:
        echo, slow = json.dumps(action("echo")), json.dumps(action("long", tokens=20, intervalMs=60))
        done = init(
            *("--target", base_url, "--organization", "org-1"),
            *("--action", f"success={echo}", "--action", f"long={slow}"),
            token="demo-token",
        )
    assert done.exit_code == 0, done.output
    target = load_settings().target
    assert (target.conflict, target.resume_start, target.last_event_id) == ("http-409", "replay", True)


def test_an_action_that_does_not_do_what_its_name_says(server: tuple[Acme, str]) -> None:
    _, url = server
    wrong = (f"failure={json.dumps(action('summarise'))}", f"long={json.dumps(action('summarise'))}")
    done = init(
        *("--target", url + PATH, "--organization", ORGANIZATION, "--once"),
        *("--action", SUMMARISE, "--action", wrong[0], "--action", wrong[1]),
    )
    assert done.exit_code == 0, done.output
    assert done.stderr.count("NOT as expected") == 2
    assert Path("harness.toml").read_text().count("Not what the suite needs here.") == 2


def test_a_pause_within_the_heartbeat_budget_is_too_short(server: tuple[Acme, str]) -> None:
    wrong = (f"quiet={json.dumps(action('crawl'))}", f"silent={json.dumps(action('summarise'))}")
    done = init(
        *("--target", server[1] + PATH, "--organization", ORGANIZATION, "--once", "--action", SUMMARISE),
        *("--action", wrong[0], "--action", wrong[1], "--action", f"cancelled={json.dumps(action('break'))}"),
    )
    assert done.exit_code == 0, done.output
    quiet, silent, cancelled = (line for line in done.stderr.splitlines() if " action " in line)
    assert re.search(
        r"NOT as expected  19 events, ended with done; its longest pause was 0\.\d s, too short for "
        r"budgets\.heartbeat \(15 s\): use an action that pauses longer, or set a shorter budget\.",
        quiet,
    )
    assert "12 tokens, but it must have none" in silent
    assert {line.index("NOT as expected") for line in (quiet, silent, cancelled)} == {19}
    steps = [line for line in done.stderr.splitlines() if line.endswith(("harness doctor", "harness check"))]
    assert steps == ["next: harness doctor", "      harness check"]


@pytest.mark.parametrize(("gap_ms", "suitable"), [(4500, False), (15100, True)])
def test_a_quiet_action_must_pause_for_longer_than_its_budget(gap_ms: float, *, suitable: bool) -> None:
    quiet = run(token(0), token(1), done_event(2), at=[0, gap_ms, gap_ms + 1])
    assert (unsuitable("quiet", quiet, 15.0) is None) == suitable


def test_an_existing_file_is_kept(server: tuple[Acme, str]) -> None:
    running, url = server
    Path("harness.toml").write_text("precious")
    options = ("--target", url + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE, "--once")
    done = init(*options)
    assert done.exit_code == 2
    assert "use --force" in done.stderr
    assert Path("harness.toml").read_text() == "precious"
    assert running.requests == 0
    assert init(*options, "--force").exit_code == 0
    assert load_settings().target.path == PATH


def test_a_refused_setting_is_named_with_the_servers_message(server: tuple[Acme, str]) -> None:
    _, url = server
    given = ("--target", url + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE)
    assert_refused(init(*given, token="wrong"), "401", "this needs a token of yours", "HARNESS_TARGET__TOKEN")
    assert_refused(init(*given, token=None), "no token given")
    assert_refused(init(*given, "--path", "/nowhere"), "404", "there is nothing here", "--path")
    assert_refused(init(*given, "--organization", "other"), "403", "--organization ('other' was sent)")
    unknown = f"success={json.dumps(action('dance'))}"
    assert_refused(
        init(*given[:4], "--action", unknown), "422", "acme has summarise, crawl, break", "--action success"
    )


def test_a_missing_setting_names_its_flag_without_a_terminal(server: tuple[Acme, str]) -> None:
    assert_refused(init(), "--target URL")
    assert_refused(init("--target", server[1] + PATH), "--action success=", "--from-curl")
    assert_refused(init("--target", "agent.example.com"), "add http:// or https://")
    assert_refused(init("--target", "http://me:pw@h/x", "--action", SUMMARISE), "user name")
    assert_refused(init("--target", server[1], "--action", "succes={}"), "unknown action 'succes'", "success")
    assert_refused(init("--target", server[1], "--action", "success"), "has no =")
    assert_refused(init("--target", server[1], "--action", "success=[]"), "is not a JSON object")
    assert_refused(init("--target", server[1], "--action", "success="), "is not valid JSON")
    assert_refused(
        init("--target", server[1], "--action", "success=summarise"), "toolName", "--action success='{"
    )
    assert_refused(
        init("--target", server[1], "--action", SUMMARISE, token="two words"), "target.token", "blank"
    )
    assert_refused(init("--from-curl", "nowhere.sh"), "cannot read the curl command in nowhere.sh")


def test_connection_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert_refused(
            init("--target", url, "--action", SUMMARISE), url, "cannot be reached: Connection refused"
        )


def test_an_unknown_certificate(authority: Authority) -> None:  # noqa: F811
    server = Acme()
    with answering(server.handle, authority.context) as url:
        options = ("--target", url + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE, "--once")
        assert_refused(init(*options), "certificate", "--ca-file", "target.ca_file")
        assert server.requests == 0
        trusted = init(*options, "--ca-file", str(authority.ca_file))
        assert trusted.exit_code == 0, trusted.output
        assert load_settings().target.ca_file == str(authority.ca_file)
        unchecked = init(*options, "--no-verify-tls", "--force")
        assert unchecked.exit_code == 0, unchecked.output
        assert load_settings().target.verify_tls is False


async def _forgetful(request: web.Request) -> web.StreamResponse:
    """Every request starts a new run; no request is a conflict or refused."""
    _forgetful.count += 1  # type: ignore[attr-defined]
    run = _forgetful.count  # type: ignore[attr-defined]
    events = [{"type": "token", "content": str(run)}, {"type": "done", "runId": str(run)}]
    text = "".join(f"id: {run}-{at}\ndata: {json.dumps(event)}\n\n" for at, event in enumerate(events))
    return web.Response(text=text, content_type="text/event-stream")


_forgetful.count = 0  # type: ignore[attr-defined]


def test_a_server_without_idempotency_gets_no_setting_for_it() -> None:
    with answering(_forgetful) as url:
        done = init("--target", url, "--organization", "o", "--action", SUMMARISE, token=None)
    assert done.exit_code == 0, done.output
    target = load_settings().target
    assert (target.conflict, target.resume_start, target.last_event_id) == ("any", "any", None)
    text = Path("harness.toml").read_text()
    assert "did not return the same run" in " ".join(text.replace("\n#", "").split())
    assert "answered 200 to a request without a token" in text


@pytest.mark.parametrize(
    ("content_type", "text", "message"),
    [
        ("text/event-stream", "", "no event of the documented form"),
        ("text/event-stream", 'id: 1-0\ndata: {"type":"token","content":"x"}\n\n', "no terminal event"),
    ],
)
def test_a_wrong_stream_is_a_warning(content_type: str, text: str, message: str) -> None:
    async def wrong(request: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type=content_type)

    with answering(wrong) as url:
        done = init("--target", url, "--organization", "o", "--action", SUMMARISE)
    assert done.exit_code == 0, done.output
    assert message in done.stderr
    assert load_settings().target.conflict == "any"


@pytest.mark.parametrize(
    ("content_type", "text", "what"),
    [
        ("text/html", "<!doctype html><title>Welcome</title>", "a web page"),
        ("application/xhtml+xml", "<html/>", "a web page"),
        ("application/json", '{"ok": true}', "no event stream"),
        ("text/plain", "pong", "no event stream"),
    ],
)
def test_what_is_not_the_endpoint_gets_no_file(content_type: str, text: str, what: str) -> None:
    async def other(request: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type=content_type)

    with answering(other) as url:
        done = init("--target", url, "--organization", "o", "--action", SUMMARISE)
    assert_refused(done, what, content_type, "--path")


@pytest.mark.parametrize("status", [301, 302, 308])
def test_a_redirect_names_its_target(status: int) -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": "https://login.example.com/"})

    with answering(moved) as url:
        done = init("--target", url, "--organization", "o", "--action", SUMMARISE)
    assert_refused(done, f"redirects (status {status})", "https://login.example.com/")


def test_a_wrong_scheme_is_named(authority: Authority) -> None:  # noqa: F811
    server = Acme()
    options = ("--organization", ORGANIZATION, "--action", SUMMARISE)
    with answering(server.handle) as url:
        done = init("--target", url.replace("http:", "https:") + PATH, *options)
    assert_refused(done, "speaks plain HTTP on this port", "use http://")
    with answering(server.handle, authority.context) as url:
        done = init("--target", url.replace("https:", "http:") + PATH, *options)
    assert_refused(done, "speaks TLS on this port", "use https://")


def test_the_variables_that_the_file_recommends_do_no_harm(
    server: tuple[Acme, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = server
    options = ("--target", url + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE, "--once")
    assert init(*options).exit_code == 0
    text = Path("harness.toml").read_text()
    recommended = set(re.findall(r"HARNESS_\w+", text))
    assert "HARNESS_TARGET__SECOND_PRINCIPAL__TOKEN" in recommended
    monkeypatch.setenv("HARNESS_TARGET__SECOND_PRINCIPAL__TOKEN", "of-the-second")
    done = init(*options, "--force")
    assert done.exit_code == 0, done.output
    assert "add its organization to harness.toml: [target.second_principal]" in done.stderr
    with pytest.raises(
        SettingsError, match=r"organization_id' is missing in harness.toml; set it there or as HARN"
    ):
        load_settings()
    lines = Path("harness.toml").read_text().replace('# organization_id = "…"', 'organization_id = "other"')
    Path("harness.toml").write_text(lines.replace("# [target.second_principal]", "[target.second_principal]"))
    second = load_settings().target.second_principal
    assert second is not None
    assert (second.organization_id, second.token.get_secret_value()) == ("other", "of-the-second")


def test_unknown_variables_do_not_keep_init_from_writing(
    server: tuple[Acme, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_TARGET__ORGANIZATION_ID", "another")
    monkeypatch.setenv("HARNESS_LOAD__USERS", "many")
    done = init("--target", server[1] + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE, "--once")
    assert done.exit_code == 0, done.output
    assert f'organization_id = "{ORGANIZATION}"' in Path("harness.toml").read_text()


def test_a_broken_server_gets_no_file() -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"why": "no\ndatabase"}}, status=500)

    with answering(broken) as url:
        assert_refused(
            init("--target", url, "--organization", "o", "--action", SUMMARISE), "500", "no\\\\ndatabase"
        )


async def _talkative(request: web.Request) -> web.StreamResponse:
    """Repeats the token it is sent in its error message, and has one action."""
    token = request.headers.get("Authorization")
    body = await request.json()
    if token == "Bearer s3cret" and body["workflowAction"].get("toolId") == "summarise":
        return await _forgetful(request)
    return web.json_response({"message": f"I got {token}"}, status=422)


def test_a_token_in_the_servers_message_is_masked() -> None:
    with answering(_talkative) as url:
        options = ("--target", url, "--organization", "o", "--action", SUMMARISE, "--action", CRAWL)
        wrong = init(*options, token="an0ther")
        assert_refused(wrong, "I got Bearer *******")
        right = init(*options, token="s3cret")
    assert "an0ther" not in wrong.output
    assert right.exit_code == 0, right.output
    assert "s3cret" not in right.output + Path("harness.toml").read_text()
    assert "I got Bearer ******" in Path("harness.toml").read_text()


def test_a_429_is_retried() -> None:
    requests: list[web.Request] = []

    async def limited(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        if len(requests) in (1, 3):
            return web.Response(status=429, headers={"Retry-After": "0"})
        return await _forgetful(request)

    with answering(limited) as url:
        done = init("--target", url, "--organization", "o", "--action", SUMMARISE, "--once")
    assert done.exit_code == 0, done.output
    assert len(requests) == 4


def _token(claims: Any) -> str:
    middle = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{middle}.sig"


@pytest.mark.parametrize(
    ("token", "organization"),
    [
        (_token({"org_id": "acme-1", "sub": "x"}), "acme-1"),
        (_token({"org": 7, "organizationId": "acme-2"}), "acme-2"),
        (_token({"sub": "x"}), None),
        (_token(["org_id"]), None),
        ("a.b.c", None),
        ("a.é.c", None),
        ("opaque", None),
    ],
)
def test_a_token_may_name_the_organization(token: str, organization: str | None) -> None:
    variables = {"HARNESS_TARGET__TOKEN": token}
    draft = first_draft("http://h", None, None, None, None, {}, NoPrompt(), variables)
    assert draft.organization_id == organization


class ScriptedPrompt:
    """A user with prepared answers."""

    is_interactive = True

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.questions: list[str] = []

    def ask(self, question: str, flag: str, *, default: str | None = None, hidden: bool = False) -> str:
        self.questions.append(question)
        return self.answers.pop(0) or (default or "")


def test_prompts_for_missing_and_refused_settings(server: tuple[Acme, str]) -> None:
    _, url = server
    prompt = ScriptedPrompt(
        url + "/wrong",
        TOKEN,
        "other",  # organization
        "summarise",
        *("Summarise", "sums up", "prod"),
        PATH,  # 404
        ORGANIZATION,  # 403
        json.dumps(action("crawl")),  # a long one
    )
    draft = first_draft(None, None, None, None, None, {}, prompt, {})
    assert run_init(draft, prompt, None, force=False, once=False) == 0
    assert prompt.answers == []
    target = load_settings().target
    assert (target.path, target.organization_id) == (PATH, ORGANIZATION)
    assert target.actions.success is not None
    assert target.actions.success["aiDescription"] == "sums up"
    assert target.resume_start == "replay"
    assert TOKEN not in Path("harness.toml").read_text()


def test_a_bare_tool_id_prompts_for_the_other_fields(server: tuple[Acme, str]) -> None:
    prompt = ScriptedPrompt("Summarise", "sums up", "prod")
    given = {"success": " summarise "}
    draft = first_draft(server[1] + PATH, None, ORGANIZATION, None, None, given, prompt, {})
    assert prompt.questions == [
        *("toolName of the action", "aiDescription of the action", "runtimeScope of the action"),
    ]
    assert draft.actions["success"] == {
        "toolId": "summarise",
        "toolName": "Summarise",
        "aiDescription": "sums up",
        "runtimeScope": "prod",
    }


@pytest.mark.parametrize("status", [404, 405, 410])
def test_a_missing_endpoint_is_a_wrong_path_from_the_first_request(status: int) -> None:
    async def nothing(request: web.Request) -> web.StreamResponse:
        return web.json_response({"title": "nothing"}, status=status)

    with answering(nothing) as url:
        done = init("--target", url, "--organization", "o", "--action", SUMMARISE)
    hint = f"probably wrong: POST /agent/workflow-actions got {status}  use --path, or a URL with its path"
    assert hint in done.stderr
    assert "the suite expects 401" not in done.stderr
    assert_refused(done, str(status), "is probably wrong", "--path")


def test_only_an_unexported_token_is_to_be_exported(server: tuple[Acme, str]) -> None:
    Path("token").write_text(TOKEN)
    options = ("--target", server[1] + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE, "--once")
    advice = "next: export HARNESS_TARGET__TOKEN"
    from_file = (*options, "--token-file", "token", "--force")
    assert advice not in init(*options).stderr
    assert advice in init(*from_file, token=None).stderr
    assert advice in init(*from_file, token="another").stderr
    assert advice not in init(*from_file).stderr


def test_corrections_are_limited(server: tuple[Acme, str]) -> None:
    _, url = server
    prompt = ScriptedPrompt(*["wrong"] * 9)
    draft = first_draft(url + PATH, None, ORGANIZATION, None, None, {"success": "{}"}, prompt, {})
    with pytest.raises(ValueError, match="refused 4 attempts"):
        run_init(draft, prompt, None, force=False, once=False)
    assert len(prompt.questions) == 5
