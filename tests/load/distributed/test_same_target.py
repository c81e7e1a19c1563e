"""A worker does not follow its master to another target."""

from __future__ import annotations

import pytest

from harness.errors import SettingsError
from harness.load.distributed.same_target import refuse_other_target


@pytest.mark.parametrize(
    ("own", "of_master"),
    [
        ("https://a.example.com", "https://a.example.com"),
        ("https://a.example.com/", "https://a.example.com"),
        (None, "https://b.example.com"),
        ("https://a.example.com", None),
    ],
)
def test_the_same_target_or_none(own: str | None, of_master: str | None) -> None:
    refuse_other_target(own, of_master)


@pytest.mark.parametrize(
    "of_master", ["https://b.example.com", "http://a.example.com", "https://a.example.com.evil"]
)
def test_another_target_is_refused(of_master: str) -> None:
    with pytest.raises(SettingsError, match="give both the same target"):
        refuse_other_target("https://a.example.com", of_master)
