"""Every verb that reads a text file ends with one sentence and exit code 2 on one that it cannot use."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomlkit

from harness.config.sources import settings_alone
from harness.config.target import Target
from harness.errors import SettingsError
from harness.reference.settings import demo_config
from harness.suite.known_failures import load_known_failures
from tests.strangers.results_files import Make, content, sound
from tests.strangers.runner import assert_one_sentence, bounded, verb


def not_text() -> Iterator[tuple[str, Make]]:
    """What no text file is."""
    yield "a folder", Path.mkdir
    yield "a pipe", os.mkfifo
    yield "an endless device", lambda path: path.symlink_to("/dev/zero")
    yield "random bytes without end", lambda path: path.symlink_to("/dev/urandom")
    yield "nothing there", lambda path: None
    yield "a link to itself", lambda path: path.symlink_to(path)
    yield "a file of a terabyte", lambda path: (path.touch(), os.truncate(path, 1 << 40))
    yield "memory of a process", lambda path: path.symlink_to("/proc/self/mem")
    yield "UTF-16", content("[target]\n".encode("utf-16"))
    yield "UTF-32", content("[target]\n".encode("utf-32"))
    yield "bytes", content(bytes(range(128, 256)))
    yield "NUL characters", content(b"a\0b")
    yield "a lone surrogate", content(b"\xed\xa0\x80")
    yield "an overlong slash", content(b"\xc0\xaf")


SETTINGS = {
    "a number of 5,000 digits": f"[load]\nusers = {'9' * 5000}",
    "infinitely many users": "[load]\nusers = inf",
    "an infinite duration": "[load]\nduration = inf",
    "a duration that is no number": "[load]\nduration = nan",
    "an infinite rate": "[load]\nrate = inf",
    "a rate that is no number": "[load]\nrate = nan",
    "a rate beyond floats": "[load]\nrate = 1e400",
    "an infinite warm-up": "[load]\nwarmup = inf",
    "an infinite budget": "[budgets]\nrun = inf",
    "a budget that is no number": "[budgets]\nrun = nan",
    "a negative budget": "[budgets]\nrun = -1",
    "an infinite objective": "[objectives]\nttft_p95_ms = inf",
    "an objective that is no number": "[objectives]\nttft_p95_ms = nan",
    "a share beyond all": "[gate]\nsmallest_effect = inf",
    "deep lists": f"[target.body]\na = {'[' * 5000}{']' * 5000}",
    "deep tables": f"[target.body]\na = {'{a=' * 5000}1{'}' * 5000}",
    "a key of many parts": f"[target.body]\n{'a.' * 50_000}a = 1",
    "a table of many parts": f"[{'a.' * 50_000}a]",
    "many unknown keys": "".join(f"key{number} = 1\n" for number in range(20_000)),
    "a text without an end": '[target]\npath = "' + "x" * 900_000,
    "one long line": "#" * 1_100_000,
    "no TOML": "{",
    "JSON": '{"target": {}}',
    "a date of none": "[target]\npath = 2026-02-31",
    "a text for a table": 'target = "x"',
    "a list for a table": "target = [1]",
    "lists of tables": "[[target]]\n[[target]]",
    "the same key twice": "[target]\npath = '/a'\npath = '/b'",
    "an escape of half a character": '[target]\npath = "\\ud800"',
    "control characters": '[target]\npath = "\x1b[31m"',
    "a number of an action that is none": "[target.actions.success]\na = nan",
    "an infinite number in a body": "[target.body]\na = [inf]",
    "a token of two lines": '[target]\ntoken = "a\\nb"',
    "an unknown journey": "[load.journeys]\n'../../x' = 1",
    "a weight that is no number": "[load.journeys]\nfresh = nan",
    "an infinite weight": "[load.journeys]\nfresh = inf",
    "a key of 100,000 letters": f"[gate]\n{'x' * 100_000} = 1",
    "a command with a NUL": '[target]\nown = true\nrestart_command = "a\\u0000b"',
    "a thousand replicas": f"[target]\nreplicas = {[f'http://h{number}' for number in range(1000)]}",
    "a path to cancel at another server": '[target.cancel]\nmethod = "GET"\npath = 7',
    "a body of a cancellation that is no JSON": "[target.cancel]\npath = '/x'\nbody = { a = nan }",
    "metrics of a file": "[scrape]\nurl = 'file:///etc/passwd'\nmatch = ['m']",
    "metrics with a pattern that is none": "[scrape]\nurl = 'http://h/m'\nmatch = ['(a+)+$']",
    "ten thousand steps": f"[journeys.workflow]\nsteps = {['success'] * 10_000}",
    "an infinite time to think": "[journeys.workflow]\nthink = inf",
    "an infinite retention": "[target]\nkey_retention = inf",
    "a link to traces that runs": "[report]\ntrace_url = 'javascript:{trace_id}'",
    "a link to traces of another host each": "[report]\ntrace_url = 'https://{trace_id}/'",
}

TRACES = {
    "a time of 5,000 digits": "9" * 5000,
    "infinity": "0\ninf",
    "no number": "0\nnan",
    "before the start": "-1",
    "descending": "2\n1",
    "empty": "",
    "empty lines": "\n" * 1_000_000,
    "one long line": "9" * 2_000_000,
    "text": "first,second\n" * 10,
    "the year 2026": "1767225600",
}

CURLS = {
    "empty": "",
    "blanks": " " * 900_000,
    "another program": "wget http://h",
    "no URL": "curl -d '{}'",
    "an open quote": "curl http://h -d '" + "x" * 900_000,
    "open quotes": "curl http://h " + "\"'" * 100_000,
    "backslashes": "curl http://h -d " + "\\" * 200_001,
    "dollars": "curl http://h -d " + "$(" * 200_000,
    "a file for the body": "curl http://h -d @/etc/passwd",
    "standard input for the body": "curl http://h -d @-",
    "a variable for the body": 'curl http://h -d "$HOME"',
    "a command for the body": "curl http://h -d $(cat /etc/passwd)",
    "backticks": "curl http://h -d `id`",
    "a variable for the URL": "curl http://$HOME/ -d '{}'",
    "a variable for the token": "curl http://h -d '{}' -H \"Authorization: Bearer $SECRET\"",
    "a settings file of curl": "curl -K /etc/passwd http://h -d '{}'",
    "netrc": "curl --netrc http://h -d '{}'",
    "deep JSON": "curl http://h -d '" + "[" * 200_000 + "'",
    "a number of 5,000 digits": 'curl http://h -d \'{"a": ' + "9" * 5000 + "}'",
    "Infinity": "curl http://h -d '{\"a\": Infinity}'",
    "a number beyond floats": "curl http://h -d '{\"a\": 1e999}'",
    "half a character": 'curl http://h -d \'{"a": "\\ud800"}\'',
    "the same key twice": 'curl http://h -d \'{"a": 1, "a": 2}\'',
    "a scheme of files": "curl file:///etc/passwd -d '{}'",
    "a port of text": "curl http://h:port -d '{}'",
}

LISTS = {
    "no TOML": "[[known]",
    "no table": "known = 1",
    "a table": "[known]\nid = 'ids.unique'",
    "other keys": "[[known]]\nid = 'ids.unique'\nreason = 'x'\nuntil = 1",
    "no reason": "[[known]]\nid = 'ids.unique'",
    "an unknown requirement": "[[known]]\nid = 'x'\nreason = 'x'",
    "a number for the id": "[[known]]\nid = 7\nreason = 'x'",
    "a date of none": "[[known]]\nid = 'ids.unique'\nreason = 'x'\nexpires = 'soon'",
    "deep lists": f"known = {'[' * 5000}{']' * 5000}",
    "a list of numbers": "known = [1, 2]",
}

OBJECTIVES = (
    "ttft_p95_ms < inf",
    "ttft_p95_ms < nan",
    "x",
    "",
    "<",
    "ttft_p95_ms < " + "9" * 5000,
    "a" * 100_000,
)
OBJECTIVES += ("ttft_p95_ms <", "ttft_p95_ms < 1 < 2", "ttft_p0_ms < 1", "\ud800 < 1", "error_rate < 1e999%")

VARIABLES = {
    "HARNESS_TARGET__ACTIONS": ("[" * 100_000, "{", "9" * 5000, '{"success": {"a": NaN}}', "\udcff"),
    "HARNESS_TARGET__BASE_URL": ("\udcff", "http://\udcff", "x" * 100_000),
    "HARNESS_TARGET__TOKEN": ("\udcff", "a b"),
    "HARNESS_LOAD__USERS": ("inf", "nan", "9" * 5000, "\udcff", "1e999"),
    "HARNESS_LOAD__DURATION": ("inf", "nan", "9" * 5000, "1e999"),
    "HARNESS_OBJECTIVES": ('{"ttft_p95_ms": NaN}', '{"ttft_p95_ms": 1e999}', "[" * 100_000),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sound(Path("sound.sqlite"))
    return tmp_path


def config_of_trace() -> None:
    Path("harness.toml").write_text('[load]\ntrace = "stranger"\n')


COMMANDS: dict[str, tuple[str, ...]] = {
    "settings": ("gate", "sound.sqlite", "--config", "stranger"),
    "token": ("doctor", "--target", "http://127.0.0.1:9", "--token-file", "stranger"),
    "trace": ("gate", "sound.sqlite", "--config", "harness.toml"),
    "curl": ("init", "--from-curl", "stranger"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("name", "make"), list(not_text()), ids=[name for name, _ in not_text()])
def test_what_is_no_text(command: str, name: str, make: Make) -> None:
    if command == "trace":
        config_of_trace()
    make(Path("stranger"))
    assert_one_sentence(verb(*COMMANDS[command]), "stranger")


def texts(corpus: dict[str, str]) -> Callable[..., object]:
    return pytest.mark.parametrize("text", corpus.values(), ids=corpus)


@texts(SETTINGS)
def test_settings(text: str) -> None:
    Path("stranger").write_text(text)
    assert_one_sentence(verb(*COMMANDS["settings"]), "stranger")


@texts(TRACES)
def test_traces(text: str) -> None:
    config_of_trace()
    Path("stranger").write_text(text)
    assert_one_sentence(verb(*COMMANDS["trace"]), "stranger")


@texts(CURLS)
def test_curl_commands(text: str) -> None:
    Path("stranger").write_text(text)
    ended = verb(*COMMANDS["curl"], variables={"SECRET": "s3cret"})
    assert_one_sentence(ended)
    assert "s3cret" not in ended.stdout + ended.stderr
    assert "root:" not in ended.stdout + ended.stderr
    assert not Path("harness.toml").exists()


@texts(LISTS)
def test_lists_of_known_failures(text: str) -> None:
    Path("stranger").write_text(text)
    with bounded(), pytest.raises(SettingsError, match="the known failures stranger"):
        load_known_failures(Path("stranger"))


@pytest.mark.parametrize(("name", "make"), list(not_text()), ids=[name for name, _ in not_text()])
def test_lists_and_certificates_that_are_no_text(name: str, make: Make) -> None:
    make(Path("stranger"))
    with bounded(), pytest.raises(SettingsError, match="the known failures stranger"):
        load_known_failures(Path("stranger"))
    document = demo_config("https://127.0.0.1:9")
    document["target"]["ca_file"] = "stranger"
    with bounded(), pytest.raises(SettingsError, match=re.escape("target.ca_file stranger")):
        Target(settings_alone(document, "test"))


@pytest.mark.parametrize(
    "expression", OBJECTIVES, ids=lambda text: text[:20].encode("unicode_escape").decode()
)
def test_objectives(expression: str) -> None:
    ended = verb("gate", "sound.sqlite", "--objective", expression)
    assert ended.code == 2
    assert "Error: Invalid value for '--objective'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in VARIABLES.items() for value in values]
)
def test_variables(name: str, value: str) -> None:
    Path("harness.toml").write_text(tomlkit.dumps({"gate": {}}))
    assert_one_sentence(verb("gate", "sound.sqlite", "--config", "harness.toml", variables={name: value}))
