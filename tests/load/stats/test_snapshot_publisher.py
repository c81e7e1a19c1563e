from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.load.stats.snapshot_publisher import SnapshotPublisher


def test_before_the_first_test_only_the_state_is_set(tmp_path: Path) -> None:
    publisher = SnapshotPublisher(tmp_path / "live.json")
    document = publisher.document
    assert (document["state"], document["run"], document["problem"]) == ("ready", None, None)
    assert (document["metrics"], document["series"]["t_s"]) == ({}, [])
    assert json.loads((tmp_path / "live.json").read_text()) == document == json.loads(publisher.text)


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "live.json"
    publisher = SnapshotPublisher(file)
    before = file.open()
    publisher.publish({"n": 1})
    assert json.loads(before.read())["state"] == "ready"  # an open reader sees one document
    before.close()
    assert file.read_text() == '{"n":1}'
    assert [path.name for path in tmp_path.iterdir()] == ["live.json"]


def test_a_file_that_cannot_be_written_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = SnapshotPublisher(tmp_path / "missing" / "live.json")
    publisher.publish({"n": 2})
    assert publisher.document == {"n": 2}
    assert len([record for record in caplog.records if "live snapshot: cannot write" in record.message]) == 1


def test_an_error_replaces_the_snapshot_of_an_earlier_test() -> None:
    publisher = SnapshotPublisher()
    publisher.publish({"run": "earlier", "state": "finished"})
    publisher.publish_error("no target is given")
    assert (publisher.document["problem"], publisher.document["run"]) == ("no target is given", None)
    assert publisher.document["state"] == "ready"
