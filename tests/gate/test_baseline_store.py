import os
import sqlite3
from datetime import UTC, datetime
from itertools import count

import pytest

from harness.gate.baseline_store import (
    baseline_files,
    differences,
    load_difference,
    repeats_of,
    update_baseline,
)
from harness.gate.evaluate import evaluate
from harness.gate.objective import parse_objectives
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.records import CheckRecord
from harness.results.schema import APPLICATION_ID, SCHEMA_VERSION, ResultsError
from harness.results.writer import ResultsWriter

LOAD = {
    "rate": 20.0,
    "arrivals": "constant",
    "journeys": {"fresh": 1, "resume": 0},
    "duration": 60.0,
    "seed": 7,
}
_SECONDS = count()


def recorded(path, began=None, ttft_ms=200.0, load=LOAD, checks=(), seconds=30, **manifest):
    """A results file of a steady load, with a unique start unless one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ResultsWriter(path) as writer:
        settings = {} if load is None else {"load": load}
        moment = datetime.fromtimestamp(1_790_000_000 + next(_SECONDS), UTC).isoformat()
        writer.set_manifest(**{"started_at": began or moment, "settings": settings, **manifest})
        for second in range(seconds):
            histogram = Histogram()
            histogram.record_many([ttft_ms] * 40)
            writer.add_histogram("ttft_ms", "fresh", second, "w", histogram)
        writer.add_ledger("w", 1, "fresh", "scheduled", 10)
        writer.add_ledger("w", 1, "fresh", "done", 10)
        writer.add_checks([CheckRecord(id=name, level="MUST", verdict="pass") for name in checks])
    return path


def names(folder):
    return sorted(path.name for path in folder.glob("*.sqlite"))


def test_a_baseline_is_a_file_a_tests_folder_or_a_folder_of_baselines(tmp_path):
    file = recorded(tmp_path / "one" / "results.sqlite")
    assert baseline_files(file) == [file]
    assert baseline_files(tmp_path / "one") == [file]
    late = recorded(tmp_path / "main" / "20260922T000000Z-b.sqlite")
    early = recorded(tmp_path / "main" / "20260921T000000Z-a.sqlite")
    (tmp_path / "main" / "notes.txt").write_text("no results")
    assert baseline_files(tmp_path / "main") == [early, late]
    for missing in ("missing.sqlite", "new-folder"):
        with pytest.raises(ResultsError, match=rf"{missing}: no such baseline; .*--update-baseline"):
            baseline_files(tmp_path / missing)


def test_an_empty_baseline_folder_is_an_error_with_the_command_to_fill_it(tmp_path):
    with pytest.raises(ResultsError, match=r"no baseline in this folder; .*--update-baseline"):
        baseline_files(tmp_path)


def test_repeats_are_found_in_order(tmp_path):
    first = recorded(tmp_path / "results.sqlite")
    assert repeats_of(first) == []
    for name in ("repeat-10", "repeat-2", "repeat-x", "other-1"):
        recorded(tmp_path / name / "results.sqlite")
    (tmp_path / "repeat-3").mkdir()
    assert [path.parent.name for path in repeats_of(first)] == ["repeat-2", "repeat-10"]
    assert repeats_of(recorded(tmp_path / "else.sqlite")) == []


def test_a_folder_takes_results_by_their_time_and_keeps_the_newest(tmp_path):
    folder = tmp_path / "baselines" / "main"
    for day in (20, 22, 21):
        results = recorded(tmp_path / f"{day}.sqlite", f"2026-09-{day}T12:00:00+02:00")
        lines = update_baseline([results], folder, keep=2)
    assert [name[:16] for name in names(folder)] == ["20260921T100000Z", "20260922T100000Z"]
    assert lines[0].endswith(".sqlite added to the baseline")
    assert lines[1].startswith("kept the newest 2; removed 20260920T100000Z-")
    with Results(folder / names(folder)[0]) as copied:
        assert copied.histogram("ttft_ms").count == 1200


def test_the_same_results_are_one_baseline(tmp_path):
    results = recorded(tmp_path / "results.sqlite")
    update_baseline([results], tmp_path / "main")
    assert update_baseline([results], tmp_path / "main")[0].endswith("is already in the baseline")
    assert len(names(tmp_path / "main")) == 1


def test_repeats_join_together(tmp_path):
    results = [recorded(tmp_path / f"{n}.sqlite", f"2026-09-21T12:0{n}:00+00:00") for n in (1, 2, 3)]
    assert len(update_baseline(results, tmp_path / "main")) == 3
    assert len(names(tmp_path / "main")) == 3


def test_results_without_a_time_are_named_by_their_files(tmp_path):
    results = recorded(tmp_path / "r.sqlite", began="once")
    os.utime(results, (0, 86_400))
    update_baseline([results], tmp_path / "main")
    assert names(tmp_path / "main")[0].startswith("19700102T000000Z-")


def test_a_file_is_replaced(tmp_path):
    file = tmp_path / "deep" / "main.sqlite"
    assert update_baseline([recorded(tmp_path / "a.sqlite", ttft_ms=1)], file) == [
        f"{file} is now the baseline"
    ]
    update_baseline([recorded(tmp_path / "b.sqlite", ttft_ms=2)], file)
    with Results(file) as results:
        assert results.histogram("ttft_ms").max == 2
    assert names(file.parent) == ["main.sqlite"]


def test_measured_results_are_not_overwritten(tmp_path):
    results = recorded(tmp_path / "run" / "results.sqlite")
    with pytest.raises(ResultsError, match="is the folder of a test, whose results are never overwritten"):
        update_baseline([results], tmp_path / "run")
    with pytest.raises(ResultsError, match="these results are already the baseline"):
        update_baseline([results], results)


def test_a_baseline_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultsError, match="cannot write the baseline"):
        update_baseline([recorded(tmp_path / "r.sqlite")], tmp_path / "file" / "main")


def test_a_copy_includes_the_write_ahead_log(tmp_path):
    path = recorded(tmp_path / "r.sqlite")
    with ResultsWriter(path) as writer:
        writer.add_ledger("w", 2, "fresh", "scheduled", 5)
        writer.commit()
        update_baseline([path], tmp_path / "main.sqlite")
    with Results(tmp_path / "main.sqlite") as results:
        assert results.ledger().scheduled == 15


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        ({**LOAD, "rate": 40.0}, "the load differs: rate 40.0 in the baseline, 20.0 now"),
        (
            {**LOAD, "rate": None, "ramp": "1:9:60s"},
            "the load differs: rate none in the baseline, 20.0 now",
        ),
        (
            {**LOAD, "arrivals": "poisson"},
            "the load differs: arrivals poisson in the baseline, constant now",
        ),
        (
            {**LOAD, "journeys": {"fresh": 1, "resume": 2}},
            "the load differs: journeys fresh=1, resume=2 in the baseline, fresh=1 now",
        ),
        ({**LOAD, "duration": 600.0, "seed": 8, "keep_streams": 0}, ""),
        (None, ""),
    ],
)
def test_a_different_load_is_not_compared(tmp_path, load, reason):
    now, then = recorded(tmp_path / "now.sqlite", ttft_ms=400), recorded(tmp_path / "then.sqlite", load=load)
    with Results(now) as results, Results(then) as baseline:
        assert load_difference(results, baseline) == reason
        (comparison,) = evaluate(results, parse_objectives({"ttft_p50_ms": 1e3}), baseline).comparisons
    assert comparison.verdict == ("inconclusive" if reason else "worse")
    assert comparison.detail == (
        reason or "too few tests to estimate how much they vary: a standard deviation of 2.0% is assumed"
    )
    assert (comparison.low is None) is bool(reason)


def test_unset_users_are_the_default(tmp_path):
    files = [
        recorded(tmp_path / f"{n}.sqlite", load=load)
        for n, load in enumerate(({}, {"users": 10}, {"users": 9}))
    ]
    usual, ten, nine = (Results(path) for path in files)
    with usual, ten, nine:
        assert load_difference(usual, ten) == ""
        assert load_difference(ten, nine) == "the load differs: users 9 in the baseline, 10 now"


def test_a_load_with_the_suite_differs_from_one_without(tmp_path):
    with (
        Results(recorded(tmp_path / "a.sqlite", checks=["ids.unique"])) as check,
        Results(recorded(tmp_path / "b.sqlite")) as load,
    ):
        assert load_difference(check, load) == (
            "the baseline ran without the conformance suite, this test with"
        )
        assert (
            load_difference(load, check) == "the baseline ran with the conformance suite, this test without"
        )


def test_different_actions_and_sources_of_arrival_times_are_noted(tmp_path):
    def made(name, tokens, stamp):
        settings = {"target": {"actions": {"success": {"toolId": "echo"}, "long": {"tokens": tokens}}}}
        return Results(recorded(tmp_path / name, settings=settings, receive_stamp=stamp))

    with made("a", 20, "kernel") as now, made("b", 10, "loop") as then:
        assert list(differences(now, then)) == [
            "the baseline requested other actions: target.actions differs in long",
            "the baseline has arrival times of a different source: loop, not kernel",
        ]
        assert list(differences(now, now)) == []


def test_a_different_target_or_machine_is_noted(tmp_path):
    def made(name, url, cpu, path="/runs"):
        target, machine = {"base_url": url, "path": path}, {"cpu": cpu, "cores": 2}
        return Results(recorded(tmp_path / name, target=target, machine=machine))

    with (
        made("a", "https://new.example.com", "x") as now,
        made("b", "https://old.example.com", "y") as then,
        made("c", "http://127.0.0.1:4711", "x") as here,
        made("d", "http://127.0.0.1:815", "x") as there,
        made("e", "https://[broken", "x") as broken,
    ):
        assert list(differences(now, then)) == [
            "the baseline has a different target: https://old.example.com/runs, not https://new.example.com/runs",
            "the baseline was measured on a different machine: y with 2 cores, not x with 2 cores",
        ]
        assert list(differences(here, there)) == []
        assert list(differences(now, now)) == []
        assert len(list(differences(now, broken))) == 1
        report = evaluate(now, parse_objectives({"ttft_p50_ms": 1e3}), [then, then])
        assert len(report.notes) == 3
        assert report.notes[0] == "some of these files are copies of one test and count once"
        once = evaluate(now, parse_objectives({"ttft_p50_ms": 1e3}), [then])
        assert once.comparisons == report.comparisons
        assert once.comparisons[0].verdict != "worse"  # it may be intended: a canary next to the old version
        assert once.notes == report.notes[1:]
    with Results(recorded(tmp_path / "f", target=None, machine="old")) as bare:
        assert list(differences(bare, bare)) == []


def test_results_are_not_compared_with_themselves(tmp_path):
    files = [recorded(tmp_path / f"{n}.sqlite", ttft_ms=200 + n) for n in range(3)]
    update_baseline(files, tmp_path / "main")
    copies = [Results(path) for path in baseline_files(tmp_path / "main")]
    objectives = parse_objectives({"ttft_p50_ms": 1e3})
    with Results(files[0]) as results:
        report = evaluate(results, objectives, copies)
        assert report.comparisons[0].runs == (1, 2)
        assert report.notes == (
            "these results are already in the baseline and are not compared with themselves",
        )
        alone = evaluate(results, objectives, copies[0])
        assert (alone.comparisons[0].difference, alone.notes) == (0.0, ())
    for results in copies:
        results.close()


def test_hostile_files_are_named(tmp_path):
    newer = recorded(tmp_path / "newer.sqlite")
    with sqlite3.connect(newer) as db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(ResultsError, match=r"newer\.sqlite: this results file has schema version"):
        Results(newer)
    with pytest.raises(ResultsError, match=r"newer\.sqlite: this results file has schema version"):
        update_baseline([newer], tmp_path / "main")
    assert not list((tmp_path / "main").iterdir())
    (tmp_path / "empty.sqlite").write_bytes(b"")
    with pytest.raises(ResultsError, match=r"not a results file \(empty\)"):
        Results(tmp_path / "empty.sqlite")
