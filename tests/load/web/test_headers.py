"""What every response of the page tells a browser, whichever route made it."""

from __future__ import annotations

import pytest

from harness.load.web.headers import our_report, secured

PAGE = [("Content-Type", "text/html; charset=utf-8")]


def fields(*given: tuple[str, str], status: str = "200 OK", is_file: bool = False) -> dict[str, str]:
    return {name.lower(): value for name, value in secured(status, given, is_file=is_file)}


def test_no_other_origin_is_permitted_to_read() -> None:
    given = [("Access-Control-Allow-Origin", "*"), ("access-control-allow-credentials", "true"), *PAGE]
    assert not [name for name in fields(*given) if name.startswith("access-control-")]


@pytest.mark.parametrize("is_file", [True, False])
def test_what_limits_a_browser_is_always_there(is_file: bool) -> None:
    found = fields(*PAGE, is_file=is_file)
    assert found["x-content-type-options"] == "nosniff"
    assert found["x-frame-options"] == "DENY"
    assert found["referrer-policy"] == "same-origin"
    assert found["cross-origin-opener-policy"] == "same-origin"
    assert found["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in found["content-security-policy"]


def test_a_policy_of_its_own_stays_and_what_is_no_page_may_do_nothing() -> None:
    assert (
        fields(*PAGE, ("Content-Security-Policy", "default-src x"))["content-security-policy"]
        == "default-src x"
    )
    for given, status in (
        ([("Content-Type", "application/json")], "200 OK"),
        (PAGE, "404 Not Found"),
        ([], "200 OK"),
    ):
        policy = fields(*given, status=status)["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "sandbox" in policy
    assert "sandbox" not in fields(*PAGE)["content-security-policy"]


def test_only_files_are_kept_by_a_browser() -> None:
    cached = ("Cache-Control", "max-age=3600")
    assert fields(*PAGE, cached)["cache-control"] == "no-store"
    assert fields(*PAGE)["cache-control"] == "no-store"
    assert fields(*PAGE, cached, is_file=True)["cache-control"] == "max-age=3600"


def test_the_name_of_a_download_has_plain_characters() -> None:
    for given in ('attachment; filename="a/../\x1b\u202eb;c.csv"', "attachment; filename=a/../b c.csv"):
        value = fields(("Content-Disposition", given))["content-disposition"]
        assert value.startswith('attachment; filename="a_.._')
        assert value.isascii()
        assert "/" not in value


def test_a_report_without_its_policy_may_do_nothing() -> None:
    assert "sandbox" in our_report("<html></html>")
    page = '<meta http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;">'
    assert our_report(page) == "default-src 'none'; frame-ancestors 'none'"
