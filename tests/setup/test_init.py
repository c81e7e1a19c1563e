"""`harness init` against servers that nobody of this project wrote for it."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from harness.cli import main
from harness.commands.reference_process import ReferenceServer
from harness.config.sources import load_settings
from harness.setup.init import first_draft, run_init
from harness.setup.prompts import NoPrompt
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


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("harness: "), result.output
    for word in words:
        assert word in last
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
    # summarise and crawl once each, and crawl once more to be cut; all else was tried on keys of theirs
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
    with ReferenceServer() as embedded:
        echo, slow = json.dumps(action("echo")), json.dumps(action("long", tokens=20, intervalMs=60))
        done = init(
            *("--target", embedded.base_url, "--organization", "org-1"),
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
    assert done.stderr.count("NOT as wanted") == 2
    assert Path("harness.toml").read_text().count("That is not what the suite needs of it.") == 2


def test_a_file_that_is_there_is_kept(server: tuple[Acme, str]) -> None:
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


def test_a_refused_setting_is_named_with_the_servers_words(server: tuple[Acme, str]) -> None:
    _, url = server
    given = ("--target", url + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE)
    refused(init(*given, token="wrong"), "401", "this needs a token of yours", "HARNESS_TARGET__TOKEN")
    refused(init(*given, token=None), "no token is given")
    refused(init(*given, "--path", "/nowhere"), "404", "there is nothing here", "--path")
    refused(init(*given, "--organization", "other"), "403", "--organization ('other' was sent)")
    unknown = f"success={json.dumps(action('dance'))}"
    refused(
        init(*given[:4], "--action", unknown), "422", "acme has summarise, crawl, break", "--action success"
    )


def test_what_is_missing_is_named_where_nobody_can_be_asked(server: tuple[Acme, str]) -> None:
    refused(init(), "--target URL")
    refused(init("--target", server[1] + PATH), "--action success=", "--from-curl")
    refused(init("--target", "agent.example.com"), "write http:// or https://")
    refused(init("--target", "http://me:pw@h/x", "--action", SUMMARISE), "user name")
    refused(init("--target", server[1], "--action", "succes={}"), "no action 'succes'", "success")
    refused(init("--target", server[1], "--action", "success"), "has no =")
    refused(init("--target", server[1], "--action", "success=[]"), "is no JSON object")
    refused(init("--target", server[1], "--action", "success="), "is not valid JSON")
    refused(init("--target", server[1], "--action", "success=summarise"), "toolName", "--action success='{")
    refused(init("--target", server[1], "--action", SUMMARISE, token="two words"), "target.token", "blank")
    refused(init("--from-curl", "nowhere.sh"), "cannot read the curl command in nowhere.sh")


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        refused(init("--target", url, "--action", SUMMARISE), url, "cannot be reached: Connection refused")


def test_a_certificate_that_nobody_knows(authority: Authority) -> None:  # noqa: F811
    server = Acme()
    with answering(server.handle, authority.context) as url:
        options = ("--target", url + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE, "--once")
        refused(init(*options), "certificate", "--ca-file")
        assert server.requests == 0
        trusted = init(*options, "--ca-file", str(authority.ca_file))
        assert trusted.exit_code == 0, trusted.output
        assert load_settings().target.ca_file == str(authority.ca_file)
        unchecked = init(*options, "--no-verify-tls", "--force")
        assert unchecked.exit_code == 0, unchecked.output
        assert load_settings().target.verify_tls is False


async def _forgetful(request: web.Request) -> web.StreamResponse:
    """Every request is a new run; nothing is a conflict; nobody is refused."""
    _forgetful.count += 1  # type: ignore[attr-defined]
    run = _forgetful.count  # type: ignore[attr-defined]
    events = [{"type": "token", "content": str(run)}, {"type": "done", "runId": str(run)}]
    text = "".join(f"id: {run}-{at}\ndata: {json.dumps(one)}\n\n" for at, one in enumerate(events))
    return web.Response(text=text, content_type="text/event-stream")


_forgetful.count = 0  # type: ignore[attr-defined]


def test_a_server_without_idempotency_is_not_held_to_what_it_lacks() -> None:
    with answering(_forgetful) as url:
        done = init("--target", url, "--organization", "o", "--action", SUMMARISE, token=None)
    assert done.exit_code == 0, done.output
    target = load_settings().target
    assert (target.conflict, target.resume_start, target.last_event_id) == ("any", "any", None)
    text = Path("harness.toml").read_text()
    assert "did not bring the run back" in " ".join(text.replace("\n#", "").split())
    assert "answered 200 without a token too" in text


@pytest.mark.parametrize(
    ("content_type", "text", "said"),
    [
        ("application/json", "{}", "not text/event-stream"),
        ("text/event-stream", "", "no event of the documented form"),
        ("text/event-stream", 'id: 1-0\ndata: {"type":"token","content":"x"}\n\n', "no terminal event"),
    ],
)
def test_a_wrong_stream_is_said_and_left_to_the_suite(content_type: str, text: str, said: str) -> None:
    async def wrong(request: web.Request) -> web.StreamResponse:
        return web.Response(text=text, content_type=content_type)

    with answering(wrong) as url:
        done = init("--target", url, "--organization", "o", "--action", SUMMARISE)
    assert done.exit_code == 0, done.output
    assert said in done.stderr
    assert load_settings().target.conflict == "any"


def test_a_server_that_is_broken_gives_no_file() -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"why": "no\ndatabase"}}, status=500)

    with answering(broken) as url:
        refused(init("--target", url, "--organization", "o", "--action", SUMMARISE), "500", "no\\\\ndatabase")


async def _talkative(request: web.Request) -> web.StreamResponse:
    """Says every token that it is sent, and knows one action."""
    token = request.headers.get("Authorization")
    body = await request.json()
    if token == "Bearer s3cret" and body["workflowAction"].get("toolId") == "summarise":
        return await _forgetful(request)
    return web.json_response({"message": f"I got {token}"}, status=422)


def test_a_token_that_the_server_says_is_masked() -> None:
    with answering(_talkative) as url:
        options = ("--target", url, "--organization", "o", "--action", SUMMARISE, "--action", CRAWL)
        wrong = init(*options, token="an0ther")
        refused(wrong, "I got Bearer *******")
        right = init(*options, token="s3cret")
    assert "an0ther" not in wrong.output
    assert right.exit_code == 0, right.output
    assert "s3cret" not in right.output + Path("harness.toml").read_text()
    assert "I got Bearer ******" in Path("harness.toml").read_text()


def test_a_limiter_is_waited_for() -> None:
    asked: list[int] = []

    async def limited(request: web.Request) -> web.StreamResponse:
        asked.append(1)
        if len(asked) in (1, 3):
            return web.Response(status=429, headers={"Retry-After": "0"})
        return await _forgetful(request)

    with answering(limited) as url:
        done = init("--target", url, "--organization", "o", "--action", SUMMARISE, "--once")
    assert done.exit_code == 0, done.output
    assert len(asked) == 4


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


class Told:
    """A person whose answers are known."""

    is_interactive = True

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def ask(self, question: str, flag: str, *, default: str | None = None, hidden: bool = False) -> str:
        self.asked.append(question)
        return self.answers.pop(0) or (default or "")


def test_a_person_is_asked_for_the_rest_and_may_correct_it(server: tuple[Acme, str]) -> None:
    _, url = server
    person = Told(
        url + "/wrong",
        TOKEN,
        "other",  # organization
        "summarise",
        *("Summarise", "sums up", "prod"),
        PATH,  # 404
        ORGANIZATION,  # 403
        json.dumps(action("crawl")),  # a long one
    )
    draft = first_draft(None, None, None, None, None, {}, person, {})
    assert run_init(draft, person, None, force=False, once=False) == 0
    assert person.answers == []
    target = load_settings().target
    assert (target.path, target.organization_id) == (PATH, ORGANIZATION)
    assert target.actions.success is not None
    assert target.actions.success["aiDescription"] == "sums up"
    assert target.resume_start == "replay"
    assert TOKEN not in Path("harness.toml").read_text()


def test_a_bare_tool_is_an_action_and_its_other_fields_are_asked_for(server: tuple[Acme, str]) -> None:
    person = Told("Summarise", "sums up", "prod")
    given = {"success": " summarise "}
    draft = first_draft(server[1] + PATH, None, ORGANIZATION, None, None, given, person, {})
    assert person.asked == ["its toolName", "its aiDescription", "its runtimeScope"]
    assert draft.actions["success"] == {
        "toolId": "summarise",
        "toolName": "Summarise",
        "aiDescription": "sums up",
        "runtimeScope": "prod",
    }


@pytest.mark.parametrize("status", [404, 405, 410])
def test_an_endpoint_that_is_not_there_is_a_wrong_path_from_the_first_request(status: int) -> None:
    async def nothing(request: web.Request) -> web.StreamResponse:
        return web.json_response({"title": "nothing"}, status=status)

    with answering(nothing) as url:
        done = init("--target", url, "--organization", "o", "--action", SUMMARISE)
    seems = f"seems wrong: POST /agent/workflow-actions got {status}  give --path, or a URL with its path"
    assert seems in done.stderr
    assert "401 is what the suite wants" not in done.stderr
    refused(done, str(status), "the path seems wrong", "--path")


def test_a_token_is_to_be_exported_only_where_it_is_not(server: tuple[Acme, str]) -> None:
    Path("token").write_text(TOKEN)
    options = ("--target", server[1] + PATH, "--organization", ORGANIZATION, "--action", SUMMARISE, "--once")
    advice = "next: export HARNESS_TARGET__TOKEN"
    from_file = (*options, "--token-file", "token", "--force")
    assert advice not in init(*options).stderr
    assert advice in init(*from_file, token=None).stderr
    assert advice in init(*from_file, token="another").stderr
    assert advice not in init(*from_file).stderr


def test_a_person_who_has_no_better_answer_is_not_asked_for_ever(server: tuple[Acme, str]) -> None:
    _, url = server
    person = Told(*["wrong"] * 9)
    draft = first_draft(url + PATH, None, ORGANIZATION, None, None, {"success": "{}"}, person, {})
    with pytest.raises(ValueError, match="refused what was tried 4 times"):
        run_init(draft, person, None, force=False, once=False)
    assert len(person.asked) == 5
