"""One token through every way in, and through no way out: neither in a file, however packed, nor in what is printed."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
import tomlkit

from harness.reference.settings import demo_config
from tests.contract.evidence.test_redaction import FORMS, TOKEN
from tests.integration.canary_server import canary_server
from tests.integration.commands import harness

pytestmark = pytest.mark.slow

_PACKED = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_ZLIB = re.compile(rb"x[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
_DEEPEST = 3


def needles() -> dict[str, bytes]:
    """What must be nowhere, in lower case but for base64."""
    found = {
        "plain": TOKEN,
        "backwards": TOKEN[::-1],
        "hexadecimal": TOKEN.encode().hex(),
        "percent-encoded": quote(TOKEN, safe=""),
        "escaped": "".join(f"\\u{ord(char):04x}" for char in TOKEN),
        "references": "".join(f"&#{ord(char)};" for char in TOKEN),
        "half": TOKEN[5:],
        **FORMS,
    }
    return {name: text.lower().encode("latin-1") for name, text in found.items()}


NEEDLES = needles()
BASE64 = tuple(
    base64.b64encode(b"\0" * before + TOKEN.encode())[-(-before * 8 // 6) : -4].lower() for before in range(3)
)


def unpacked(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """The data, and what is in its base64 texts and compressed parts."""
    yield data
    if depth == _DEEPEST:
        return
    for match in _ZLIB.finditer(data):
        unpack = zlib.decompressobj(47)
        try:
            yield from unpacked(unpack.decompress(data[match.start() :], 50_000_000), depth + 1)
        except zlib.error:
            continue
    for match in _PACKED.finditer(data):
        text = match[0].replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        yield from unpacked(base64.b64decode(text[: len(text) // 4 * 4]), _DEEPEST)


def leaks(data: bytes) -> list[str]:
    """The forms of the token in the data, however packed."""
    found = {
        name
        for part in unpacked(data)
        for name, needle in (*NEEDLES.items(), *(("base64", core) for core in BASE64))
        if needle in part.lower()
    }
    return sorted(found)


def leaking(folder: Path, *outputs: str) -> dict[str, list[str]]:
    """The files and outputs that hold the token, with its forms."""
    texts = {f"output {number}": output.encode() for number, output in enumerate(outputs)}
    for path in folder.rglob("*"):
        if path.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet

            columns = pa.parquet.read_table(path).columns
            values = [column.to_pylist() for column in columns if pa.types.is_string(column.type)]
            assert values
            texts[path.name] = repr(values).encode()
        elif path.is_file() and path.name not in WAYS_IN:
            texts[str(path.relative_to(folder))] = path.read_bytes()
    return {name: found for name, data in texts.items() if (found := leaks(data))}


WAYS_IN = {"harness.toml", "token", "curl.txt"}


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    for number, spelt in enumerate(FORMS.values()):
        (tmp_path / f"{number}.txt").write_bytes(b"before " + spelt.encode("latin-1") + b" after")
    (tmp_path / "a.gz").write_bytes(zlib.compress(base64.b64encode(TOKEN.encode() * 3)))
    found = leaking(tmp_path, f"printed {TOKEN}")
    assert found.keys() == {"output 0", "a.gz", *(f"{number}.txt" for number in range(len(FORMS)))}


def token_in(way: str, folder: Path, base_url: str) -> tuple[list[str], Mapping[str, str]]:
    """Arguments and variables that give the token this way; every other setting is in harness.toml."""
    document = demo_config(base_url)
    document["budgets"] = {"first_event": 2, "run": 3, "heartbeat": 2, "terminal_close": 1}
    if way == "settings":
        document["target"]["token"] = TOKEN
    else:
        del document["target"]["token"]
    (folder / "harness.toml").write_text(tomlkit.dumps(document), encoding="utf-8")
    (folder / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    if way == "token file":
        return ["--token-file", "token"], {}
    return [], {"HARNESS_TARGET__TOKEN": TOKEN} if way == "variable" else {}


@pytest.mark.parametrize("way", ["settings", "token file", "variable"])
def test_a_suite_shows_no_token(way: str, tmp_path: Path) -> None:
    with canary_server(list(FORMS.values())) as server:
        arguments, variables = token_in(way, tmp_path, server.base_url)
        out = ["--out", "out", "--json", "verdicts.json", "--junit", "junit.xml"]
        done = harness(
            "conformance",
            *arguments,
            *out,
            "--summary-md",
            "summary.md",
            "--",
            "-k",
            "security or terminal",
            "-vv",
            "--showlocals",
            folder=tmp_path,
            variables={**variables, "GITHUB_ACTIONS": "true"},
        )
        assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
        assert next(server.received) > 20
    judged = harness("judge", "out", folder=tmp_path)
    assert "changed" not in judged.stdout, judged.stdout
    assert leaking(tmp_path, done.stdout, done.stderr, judged.stdout, judged.stderr) == {}


EXPORTS = ("csv", "jsonl", "parquet", "prometheus", "otlp-json")


def test_a_load_shows_no_token(tmp_path: Path) -> None:
    with canary_server(list(FORMS.values())) as server:
        arguments, variables = token_in("variable", tmp_path, server.base_url)
        done = harness(
            *("load", "--users", "3", "--duration", "2s", "--processes", "2", "--out", "out", *arguments),
            *("--junit", "junit.xml", "--summary-md", "summary.md", "--json"),
            *("--ctrf", "ctrf.json", "--comment-md", "comment.md"),
            folder=tmp_path,
            variables={**variables, "GITHUB_ACTIONS": "true"},
        )
        assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
        assert next(server.received) > 20
    printed = [done.stdout, done.stderr]
    for name in EXPORTS:
        exported = harness("export", "out", "--format", name, "--out", f"exported.{name}", folder=tmp_path)
        assert exported.returncode == 0, exported.stderr
        printed += [exported.stdout, exported.stderr]
    assert {path.suffix[1:] for path in tmp_path.glob("exported.*")} >= set(EXPORTS)
    assert leaking(tmp_path, *printed) == {}


def test_a_curl_command_gives_no_token_away(tmp_path: Path) -> None:
    with canary_server(list(FORMS.values())) as server:
        (tmp_path / "curl.txt").write_text(
            f"curl -N {server.base_url}/agent/workflow-actions -H 'Authorization: Bearer {TOKEN}' "
            "-H 'Content-Type: application/json' "
            """--data '{"organizationId": "org-1", "workflowAction": {"toolId": "echo", "toolName": "Echo"}}'""",
            encoding="utf-8",
        )
        done = harness("init", "--from-curl", "curl.txt", folder=tmp_path)
        checked = harness("doctor", folder=tmp_path, variables={"HARNESS_TARGET__TOKEN": TOKEN})
    assert leaking(tmp_path, done.stdout, done.stderr, checked.stdout, checked.stderr) == {}
    settings = tmp_path / "harness.toml"
    assert not settings.exists() or leaks(settings.read_bytes()) == []
