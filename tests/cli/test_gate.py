"""`harness gate`, and how a check uses a baseline."""

import json
import os

import click
import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.commands import check, load, repeats
from harness.commands.evaluation import too_short_for
from harness.commands.processes import ChildProcesses
from harness.config.sources import load_settings
from harness.results.reader import Results
from harness.results.schema import ResultsError
from tests.gate.test_baseline_store import LOAD, names, recorded


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith(("HARNESS_", "GITHUB_"))]:
        monkeypatch.delenv(name)


def gate(*arguments):
    result = CliRunner().invoke(main, ["gate", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def made(path, objectives=None, **options):
    settings = {"load": LOAD, "objectives": objectives or {"ttft_p95_ms": 800}}
    return recorded(path, settings=settings, load=None, **options)


def test_objectives_are_those_of_the_test_plus_the_options(tmp_path):
    made(tmp_path / "results.sqlite")
    assert gate(tmp_path).exit_code == 0
    result = gate(tmp_path, "--objective", "fresh.ttft_p50_ms < 100", "--objective", "ttft_p99_ms < 0.5s")
    assert result.exit_code == 1
    lines = [line.split()[:2] for line in result.output.splitlines()]
    assert ["failed", "fresh.ttft_p50_ms"] in lines
    assert ["passed", "ttft_p95_ms"] in lines
    assert ["passed", "ttft_p99_ms"] in lines
    replaced = gate(tmp_path, "--objective", "ttft_p95_ms < 100")
    assert replaced.exit_code == 1
    assert replaced.output.count("ttft_p95_ms") == 1


def test_a_settings_file_replaces_the_objectives_of_the_test(tmp_path):
    made(tmp_path / "results.sqlite")
    (tmp_path / "strict.toml").write_text('[objectives]\nexpressions = ["fresh.ttft_max_ms <= 199.9"]\n')
    result = gate(tmp_path, "--config", "strict.toml")
    assert result.exit_code == 1
    assert "fresh.ttft_max_ms" in result.output
    assert "ttft_p95_ms" not in result.output


def test_a_mistake_in_an_expression_is_a_usage_error(tmp_path):
    made(tmp_path / "results.sqlite")
    result = gate(tmp_path, "--objective", "ttft_p9_ms < 100")
    assert result.exit_code == 2
    assert "has the unknown name 'ttft_p9_ms'; did you mean 'ttft_p99_ms'?" in result.output
    assert "\n    ttft_p9_ms < 100\n    ^^^^^^^^^^\n" in result.output


def test_a_baseline_grows_only_by_results_that_pass(tmp_path):
    folder = tmp_path / "baselines" / "main"
    for minute in range(4):
        made(tmp_path / "run" / "results.sqlite", began=f"2026-09-21T14:0{minute}:00+00:00")
        result = gate("run", "--baseline", folder, "--update-baseline", "--keep", 3)
        assert result.exit_code == 0, result.output
        assert "added to the baseline" in result.output
        (tmp_path / "run" / "results.sqlite").unlink()
    assert [name[9:13] for name in names(folder)] == ["1401", "1402", "1403"]
    made(tmp_path / "slow" / "results.sqlite", ttft_ms=300, began="2026-09-22T00:00:00+00:00")
    result = gate("slow", "--baseline", folder, "--update-baseline")
    assert result.exit_code == 1
    assert "worse" in result.output
    assert "the gate did not pass, so" in result.output
    assert len(names(folder)) == 3


def test_a_baseline_of_short_tests_grows_until_comparisons_are_conclusive(tmp_path):
    codes = []
    for number in range(4):
        made(tmp_path / f"run{number}" / "results.sqlite", seconds=6)
        codes.append(gate(f"run{number}", "--baseline", "main", "--update-baseline").exit_code)
    assert codes == [0, 1, 1, 0]
    assert len(names(tmp_path / "main")) == 4


def test_an_empty_baseline_folder_gets_its_first_results(tmp_path):
    made(tmp_path / "run" / "results.sqlite")
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / ".gitkeep").touch()
    assert gate("run", "--baseline", "main", "--update-baseline").exit_code == 0
    assert len(names(tmp_path / "main")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--update-baseline"], "--update-baseline needs --baseline PATH"),
        (["--baseline", "empty"], "no baseline in this folder"),
        (["--baseline", "missing.sqlite"], "no such baseline"),
        (["--baseline", "run", "--update-baseline"], "results are never overwritten"),
    ],
)
def test_a_wrong_baseline_is_one_sentence(tmp_path, arguments, message):
    made(tmp_path / "run" / "results.sqlite")
    (tmp_path / "empty").mkdir()
    result = gate("run", *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_an_existing_baseline_is_compared_with_before_an_update(tmp_path):
    """An existing baseline is compared with, even if it will be updated."""
    made(tmp_path / "run" / "results.sqlite")
    made(tmp_path / "main.sqlite", ttft_ms=100)
    result = gate("run", "--baseline", "main.sqlite", "--update-baseline")
    assert result.exit_code == 1
    with Results(tmp_path / "main.sqlite") as baseline:
        assert baseline.histogram("ttft_ms").max == 100


def test_repeats_are_found_automatically_or_named(tmp_path):
    made(tmp_path / "run" / "results.sqlite")
    made(tmp_path / "run" / "repeat-1" / "results.sqlite", ttft_ms=900)
    made(tmp_path / "main.sqlite")
    result = gate("run", "--baseline", "main.sqlite")
    assert "repeat 1: ttft_p95_ms" in result.output
    assert "(1 test before, 2 now)" in result.output
    assert result.exit_code == 1
    made(tmp_path / "other.sqlite")
    result = gate("run", "other.sqlite", "--baseline", "main.sqlite")
    assert "repeat 1" not in result.output
    assert "(1 test before, 2 now)" in result.output


def test_the_smallest_effect_of_the_test_is_the_default(tmp_path):
    settings = {"load": LOAD, "objectives": {"ttft_p50_ms": 800}, "gate": {"smallest_effect": 0.3}}
    recorded(tmp_path / "run" / "results.sqlite", ttft_ms=240, load=None, settings=settings)
    made(tmp_path / "main.sqlite")
    assert gate("run", "--baseline", "main.sqlite").exit_code == 0
    assert gate("run", "--baseline", "main.sqlite", "--smallest-effect", "10%").exit_code == 1


def test_the_absolute_effects_have_options(tmp_path):
    made(tmp_path / "run" / "results.sqlite", ttft_ms=240)
    made(tmp_path / "main.sqlite")
    compare = ("run", "--baseline", "main.sqlite", "--objective", "ttft_p50_ms < 800")
    assert gate(*compare).exit_code == 1
    lenient = gate(*compare, "--smallest-effect-ms", "100")
    assert lenient.exit_code == 0, lenient.output
    assert "100 ms" in lenient.output


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "ten"])
def test_what_is_no_number_of_milliseconds_is_refused_in_one_sentence(text):
    result = gate("run", "--smallest-effect-ms", text)
    assert result.exit_code == 2
    assert "is not a number of milliseconds from 0 on; write for example 10" in " ".join(
        result.output.split()
    )


def test_results_of_another_version_are_one_sentence(tmp_path):
    recorded(tmp_path / "a" / "results.sqlite", load=None, settings={"gate": {"from_the_future": 1}})
    result = gate("a")
    assert result.exit_code == 2
    assert "its gate settings are not of this version: from_the_future" in result.output
    recorded(tmp_path / "b" / "results.sqlite", load=None, settings={"objectives": {"ttft_p42_ms": 1}})
    result = gate("b")
    assert result.exit_code == 2
    assert "unknown objective 'ttft_p42_ms'" in result.output
    assert "Traceback" not in result.output


class Test:
    """Replaces a load: writes results with these TTFTs, one per run."""

    __test__ = False

    def __init__(self, *ttft_ms):
        self.left = list(ttft_ms)
        self.folders = []
        self.seeds = []

    def __call__(self, settings, folder, children, output):
        self.folders.append(folder.name)
        self.seeds.append(settings.load.seed)
        path = made(folder / "results.sqlite", ttft_ms=self.left.pop(0))
        return repeats.FinishedTest(path, path, 0, 0)


class Printed(list):
    """An Output that keeps the lines printed."""

    def print(self, text):
        self.append(text)


def repeated(path, again, test, baseline, **load):
    plan = {"load": load, "gate": {"rerun_inconclusive": again}, "objectives": {"ttft_p95_ms": 800}}
    settings = load_settings(None, plan)

    def there_already(settings, folder, children, output):
        if folder == path.parent:
            return repeats.FinishedTest(path, path, 0, 0)
        return test(settings, folder, children, output)

    first, *others = repeats.run_with_repeats(
        there_already, settings, path.parent, baseline, ChildProcesses(), Printed()
    )
    assert first.results == path
    return others


def test_a_check_is_repeated_while_it_is_inconclusive(tmp_path):
    path = made(tmp_path / "run" / "results.sqlite", ttft_ms=208)
    for number, ttft_ms in enumerate((190, 195, 200, 205, 210)):
        made(tmp_path / "main" / f"{number}.sqlite", ttft_ms=ttft_ms)
    test = Test(209, 200, 200, 200, 200)
    done = repeated(path, 3, test, tmp_path / "main", rate=5, seed=2**63 - 2)
    assert [run.results.parent.name for run in done] == test.folders == ["repeat-1", "repeat-2", "repeat-3"]
    assert test.seeds == [2**63 - 1, 0, 1]


def test_a_conclusive_comparison_is_not_repeated(tmp_path):
    path = made(tmp_path / "run" / "results.sqlite", ttft_ms=400)
    for number in range(3):
        made(tmp_path / "main" / f"{number}.sqlite")
    test = Test(200)
    assert repeated(path, 3, test, tmp_path / "main") == []
    assert repeated(path, 3, test, None) == []
    assert repeated(path, 0, test, tmp_path / "main") == []
    assert test.folders == []


def test_repeating_stops_as_soon_as_it_is_decided(tmp_path):
    path = made(tmp_path / "run" / "results.sqlite", ttft_ms=225)
    for number, ttft_ms in enumerate((190, 200, 210)):
        made(tmp_path / "main" / f"{number}.sqlite", ttft_ms=ttft_ms)
    test = Test(260, 262, 258, 260)
    done = repeated(path, 4, test, tmp_path / "main")
    assert 1 <= len(done) < 4
    assert len(test.left) == 4 - len(done)


def test_a_bad_baseline_is_found_before_the_test(tmp_path):
    settings = load_settings(None, {"target": {"base_url": "http://127.0.0.1:9"}})
    for run in (check.run_check, load.run_load):
        with pytest.raises(ResultsError, match=r"no such baseline; create .* --update-baseline"):
            run(settings, tmp_path / "out", baseline=tmp_path / "missing.sqlite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["0.5%", "0.005", "100%", ".5"])
def test_the_smallest_effect_is_written_as_in_the_settings_file(text):
    from harness.cli.options import ShareType
    from harness.config.settings import GateSettings

    assert ShareType().convert(text, None, None) == GateSettings(smallest_effect=text).smallest_effect


@pytest.mark.parametrize("text", ["0", "0%", "101%", "2", "half", "-1%"])
def test_what_is_no_share_is_refused_in_one_sentence(text):
    from harness.cli.options import ShareType

    with pytest.raises(click.UsageError, match="is not a share above 0 to 100%; write for example 10%"):
        ShareType().convert(text, None, None)


@pytest.mark.parametrize(
    ("duration", "warmup", "files", "hint"),
    [
        (15, 0, 1, "use --duration 20s"),
        (20, 5, 1, "use --duration 25s"),
        (16, 0, 1, ""),
        (8, 0, 3, ""),  # the spread between four files counts
    ],
)
def test_a_test_too_short_for_the_baseline_is_announced(tmp_path, duration, warmup, files, hint):
    for number in range(files):
        (tmp_path / f"{number}.sqlite").touch()
    settings = load_settings(None, {"load": {"duration": duration, "warmup": warmup}})
    warning = too_short_for(tmp_path, settings)
    assert warning.endswith(hint)
    assert bool(warning) == bool(hint)
    assert too_short_for(None, settings) == ""


def test_quiet_prints_one_line_and_json_one_document(tmp_path):
    made(tmp_path / "results.sqlite", objectives={"ttft_p95_ms": 1})
    quiet = gate(tmp_path, "--quiet")
    assert quiet.exit_code == 1
    assert quiet.stdout == "failed: ttft_p95_ms\n"
    as_json = gate(tmp_path, "--json")
    assert as_json.exit_code == 1
    document = json.loads(as_json.stdout)
    assert (document["verb"], document["verdict"], document["exit_code"]) == ("gate", "failed", 1)
    assert [row["name"] for row in document["gate"]["rows"] if row["verdict"] == "failed"] == ["ttft_p95_ms"]
    assert "ttft_p95_ms" in as_json.stderr
    both = gate(tmp_path, "--json", "--quiet")
    assert both.exit_code == 2
    assert "mutually exclusive" in both.output


def test_json_of_results_that_cannot_be_read_is_a_document_too(tmp_path):
    result = gate(tmp_path / "none.sqlite", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["verdict"] == "not begun"


def test_a_new_baseline_is_no_part_of_the_document(tmp_path):
    made(tmp_path / "results.sqlite")
    result = gate(tmp_path, "--json", "--baseline", tmp_path / "base", "--update-baseline")
    assert json.loads(result.stdout)["verdict"] == "passed", result.output
    assert "added to the baseline" in result.stderr
