from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.contract.evidence.curl import curl
from harness.errors import SettingsError
from harness.protocol.request import HttpRequest
from harness.setup.curl import json_object, read_curl, split_url
from tests.cases import all_cases

BODY = {"organizationId": "acme", "workflowAction": {"toolId": "t", "text": "it's"}}


def test_a_command_from_a_wiki() -> None:
    found = read_curl(
        """
# start a run
$ curl -sN -X POST "https://agent.example.com:8443/v2/runs?trace=1" \\
    -H "Authorization: Bearer s3cret" -H 'Content-Type: application/json' \\
    -H 'X-Tenant: 7' --cookie 'a=b' -m 10 --compressed --raw \\
    -d '{"organizationId": "acme", "workflowAction": {"toolId": "t", "text": "it'\\''s"}}' | jq .
rm -rf /
"""
    )
    assert found.base_url == "https://agent.example.com:8443"
    assert found.path == "/v2/runs?trace=1"
    assert found.token == "s3cret"
    assert found.body == BODY
    assert found.left_out == ("X-Tenant", "Cookie")
    assert found.verify_tls


def test_a_command_copied_from_a_browser() -> None:
    found = read_curl(
        r"""curl 'http://localhost:3000/' \
  -H 'accept: text/event-stream' -H 'sec-fetch-mode: cors' -H 'authorization: Bearer a.b.c' \
  --data-raw $'{"organizationId":"acme","text":"it\'s \u00e9 \ud83d\ude80 \x21"}' --insecure"""
    )
    assert (found.base_url, found.path, found.token) == ("http://localhost:3000", "/", "a.b.c")
    assert found.body == {"organizationId": "acme", "text": "it's é \U0001f680 !"}
    assert found.left_out == ()
    assert not found.verify_tls


def test_the_command_in_a_harness_report() -> None:
    request = HttpRequest.post_json("/runs", (("Authorization", "Bearer s3cret"), ("X", "")), BODY)
    text = curl(request, "http://h:1", ["s3cret"])
    assert "s3cret" not in text
    found = read_curl(text)
    assert (found.base_url, found.path, found.token, found.body) == ("http://h:1", "/runs", None, BODY)
    assert found.token_unread == "$HARNESS_TARGET__TOKEN"


def test_nothing_is_read_that_only_the_command_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    (tmp_path / "fields").write_text("Authorization: Bearer s3cret\n")
    found = read_curl(
        f"""curl https://h -H "Authorization: Bearer ${{SECRET}}" -H @{tmp_path}/fields """
        f"""-H "X: $(cat {tmp_path}/fields)" -b "$SECRET" --cacert {tmp_path}/ca.pem -d '{{"a": "$SECRET $(id)"}}'"""
    )
    assert found.body == {"a": "$SECRET $(id)"}  # in single quotes both are plain text
    assert found.token is None
    assert found.token_unread == "$SECRET"
    assert found.unread == (
        f"the header fields in the file {tmp_path}/fields",
        f"the certificate file {tmp_path}/ca.pem (use --ca-file)",
    )
    assert found.left_out == ("X", "Cookie")
    assert "s3cret" not in repr(found)


def test_options_with_attached_values() -> None:
    found = read_curl("""curl -skXPOST h:8080/x -H'Authorization: bearer t' -d'{"a":1}'""")
    assert (found.base_url, found.path, found.token) == ("http://h:8080", "/x", "t")
    assert not found.verify_tls


@all_cases(
    ("text", "message"),
    [
        ("", "no curl command"),
        ("wget http://h", "no curl command"),
        ("curl -d '{}'", "has no URL"),
        ("curl http://h", "has no body; add one with -d '{…}', or write a profile by hand"),
        ("curl http://h -d '{}' -d '{}'", "two bodies"),
        ("curl http://h http://i -d '{}'", "two URLs"),
        ("curl http://h -d '[]'", "is not a JSON object"),
        ("curl http://h -d 'hello'", "is not valid JSON"),
        ("curl http://h -d", "ends after -d"),
        ("curl http://h -X PUT -d '{}'", "sends PUT"),
        ("curl http://h -u me:pw -d '{}'", "unsupported curl option -u;"),
        ("curl http://h --frobnicate -d '{}'", "unsupported curl option --frobnicate;"),
        ("curl http://h -H 'Authorization: Basic x' -d '{}'", "unsupported Authorization scheme Basic"),
        (
            "curl http://$HOST/ -d '{}'",
            "the URL of the curl command contains $HOST, which init does not read",
        ),
        ('curl http://h -d "$BODY"', "the body of the curl command contains $BODY, which init does not read"),
        ('curl http://h -d "$(cat /etc/passwd)"', "contains $(cat /etc/passwd), which init does not read"),
        ("curl http://h -d $(cat body)", "contains $(cat body), which init does not read"),
        ("curl http://h -X \"$METHOD\" -d '{}'", "the method of the curl command contains $METHOD"),
        ("curl http://h -K ~/.curlrc -d '{}'", "unsupported curl option -K;"),
        ("curl http://h --config ~/.curlrc -d '{}'", "unsupported curl option --config;"),
        ("curl http://h -n -d '{}'", "unsupported curl option -n;"),
        ("curl http://h --netrc-file x -d '{}'", "unsupported curl option --netrc-file;"),
        ("curl http://h -d '{\"a\": NaN}'", "NaN is not JSON"),
        ('curl http://h -d \'{"a": "\\ud800"}\'', "a lone surrogate"),
        ('curl http://h -d \'{"a": ' + "9" * 5000 + "}'", "a number of more than 1,000 digits"),
        ("curl http://h -d '{", "unclosed quote"),
        ("curl http://h -d `cat secret`", "or command substitution"),
        ('curl http://h -d "`cat secret`"', "unclosed quote or command substitution"),
        ("curl ftp://h -d '{}'", "is not a URL"),
        ("curl http://h -d @/etc/passwd", "is in the file /etc/passwd, which init does not read"),
    ],
)
def test_an_unusable_command_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_curl(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@all_cases(
    "text",
    [
        "curl 'http://me:s3cret-t0ken@h/' -d '{}'",
        "curl 'ftp://me:s3cret-t0ken@h/' -d '{}'",
        "curl 'ftp://h/?key=s3cret-t0ken' -d '{}'",
        "curl 'http://h/?key=s3cret-t0ken' 'http://i/?key=s3cret-t0ken' -d '{}'",
        "curl http://h -H 'Authorization: s3cret-t0ken' -d '{}'",
        "curl http://h -H 'Authorization:Bearers3cret-t0ken' -d '{}'",
        "curl http://h -H 'Authorization: Bearer=s3cret-t0ken' -d '{}'",
        "curl http://h --header='Authorization: Bearer s3cret-t0ken' -d '{}'",
        "curl http://h --oauth2-bearer=s3cret-t0ken -d '{}'",
        "curl http://h -X s3cret-t0ken -d '{}'",
        "curl http://h 's3cret-t0ken",
        "curl http://h `s3cret-t0ken` -d '{}'",
    ],
)
def test_a_message_about_a_command_holds_no_token(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_curl(text)
    assert "s3cret" not in str(caught.value)


@all_cases(
    "text",
    [
        'curl ^"http://h/^" ^\r\n  -H ^"content-type: application/json^" ^\r\n  --data-raw ^"{^\\^"a^\\^":1}^"',
        "curl http://h ^\n -d '{}'",
        "curl http://h `\r\n -d '{}'",
    ],
)
def test_a_command_for_a_windows_shell_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=r"for a Windows shell.*Copy as cURL \(bash\)"):
        read_curl(text)


def cpu_s(text: str) -> float:
    before_s = time.process_time()
    with pytest.raises(SettingsError):
        read_curl(text)
    return time.process_time() - before_s


def test_the_time_to_read_a_word_grows_with_its_length_not_with_its_square() -> None:
    assert cpu_s("$" * 320_000) < 60 * cpu_s("$" * 20_000)  # 16 times; with the square 130 times


def test_a_blank_that_no_shell_takes_for_one_is_part_of_a_word() -> None:
    with pytest.raises(SettingsError, match="no curl command"):
        read_curl("curl\N{NO-BREAK SPACE}http://h -d '{}'")


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://h", ("https://h", "")),
        ("https://h/", ("https://h", "")),
        ("https://h:1/a/b?c=d", ("https://h:1", "/a/b?c=d")),
        ("https://h?c=d", ("https://h", "/?c=d")),
        ("http://[::1]:80/a", ("http://[::1]:80", "/a")),
    ],
)
def test_urls(url: str, parts: tuple[str, str]) -> None:
    assert split_url(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        *("", "http://", "http://h:port", "http://h:0", "http://[::1", "ws://h"),
        "http://h\t.test/",
        "http://h/a\nb",
    ],
)
def test_not_a_url(url: str) -> None:
    with pytest.raises(SettingsError, match="is not a URL"):
        split_url(url)


def test_json_that_would_overflow_the_stack() -> None:
    with pytest.raises(SettingsError, match="--action x"):
        json_object("[" * 100_000, "--action x")


@pytest.mark.parametrize(
    ("options", "form_as", "fields"),
    [
        ("-F message='tell me' -F stream=true", "multipart", {"message": "tell me", "stream": "true"}),
        ("--form 'message=hi;type=text/plain' -FX=", "multipart", {"message": "hi", "X": ""}),
        ("--form-string 'message=@hi;type=x'", "multipart", {"message": "@hi;type=x"}),
        ("""-F 'message="a; type=b \\"c\\""'""", "multipart", {"message": 'a; type=b "c"'}),
        ("-d 'message=tell+me%21&stream=true'", "urlencoded", {"message": "tell me!", "stream": "true"}),
        ("-d message=hi --data empty=", "urlencoded", {"message": "hi", "empty": ""}),
        ("--data-urlencode 'message=a&b=c'", "urlencoded", {"message": "a&b=c"}),
    ],
)
def test_the_fields_of_a_form(options: str, form_as: str, fields: dict[str, str]) -> None:
    found = read_curl(f"curl http://h/runs {options}")
    assert (found.form_as, found.body) == (form_as, fields)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("-F message=@/etc/passwd", "the field message of the curl command is in the file /etc/passwd"),
        ("-F 'message=<notes'", "is in the file notes, which init does not read"),
        ("-F message=$SECRET", "the form of the curl command contains \\$SECRET"),
        ("-F message", "-F 'message' of the curl command is not a field; write -F name=value"),
        ("-F a=1 -F a=2", "has the field a twice"),
        ("-F a=1 -d b=2", "two bodies"),
        ("-F a=1 -d '{}'", "two bodies"),
        ("-d '{}' -F a=1", "two bodies"),
        ("--json a=b", "is not valid JSON"),
    ],
)
def test_a_form_that_cannot_be_used(options: str, sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        read_curl(f"curl http://h/runs {options}")
