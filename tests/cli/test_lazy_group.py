"""The command line starts quickly: `--help` imports nothing but click and the standard library."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from harness.cli import main
from harness.config.load_settings import JourneyWeights
from harness.contract.requirements import CATALOGUE
from harness.reference.faults import FAULTS, RARE_FAULTS
from tests.cases import all_cases

VERBS = main.list_commands(click.Context(main))
HEAVY = {"pydantic", "rich", "numpy", "msgspec", "tomlkit", "locust", "gevent", "aiohttp", "pytest"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["load", "--help"], ["conformance", "--help"]], ids=" ".join
)
def test_help_imports_no_heavy_module(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom harness.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\nprint(*sys.modules, sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: " in done.stdout
    loaded = set(done.stderr.splitlines())
    assert loaded & HEAVY == set()
    assert not {name for name in loaded if name.startswith("harness.results")}


def test_every_verb_is_a_module_of_its_name() -> None:
    assert "check" in VERBS
    for verb in VERBS:
        command = main.get_command(click.Context(main), verb)
        assert command is getattr(import_module(f"harness.cli.{verb}"), verb)
        assert command.name == verb
        assert command.help


def test_the_help_lists_every_verb_with_a_whole_sentence() -> None:
    with click.Context(main, info_name="harness") as context:
        lines = main.get_help(context).partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == VERBS
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


def test_an_unknown_verb_is_refused() -> None:
    assert main.get_command(click.Context(main), "lazy_group") is None
    with pytest.raises(click.UsageError, match="No such command 'chek'"):
        main(["chek"], standalone_mode=False)


def test_the_shell_completes_verbs_and_options() -> None:
    complete = ShellComplete(main, {}, "harness", "_HARNESS_COMPLETE")
    assert [item.value for item in complete.get_completions([], "comp")] == ["compare", "completion"]
    options = [item.value for item in complete.get_completions(["load"], "--ra")]
    assert options == ["--rate", "--ramp"]


@all_cases(
    ("words", "incomplete", "values"),
    [
        (["serve", "--fault"], "two-", {"two-terminals", "two-winners"}),
        (["load", "--journey"], "re", {"replay=1", "resume=1"}),
        (["check", "--journey", "fresh=1", "--journey"], "slow", {"slow_reader=1"}),
        (["capacity", "--journey"], "ra", {"race=1"}),
        (["init", "--action"], "s", {"success=", "silent="}),
        (["conformance", "-k"], "framing.b", {"framing.bom", "framing.blank-line"}),
        (
            ["conformance", "-x", "-k"],
            "secu",
            {name for name in CATALOGUE if name.startswith("secu")} | {"security"},
        ),
        (["export", "run", "--format"], "p", {"prometheus", "parquet"}),
        (["load", "--arrivals"], "", {"constant", "poisson"}),
        (["completion"], "", {"bash", "zsh", "fish"}),
    ],
)
def test_the_shell_completes_values(words: list[str], incomplete: str, values: set[str]) -> None:
    complete = ShellComplete(main, {}, "harness", "_HARNESS_COMPLETE")
    found = {item.value for item in complete.get_completions(words, incomplete)}
    assert values <= found
    assert all(value.startswith(incomplete) for value in found)


def test_every_fault_and_journey_is_completed() -> None:
    complete = ShellComplete(main, {}, "harness", "_HARNESS_COMPLETE")
    faults = complete.get_completions(["serve", "--fault"], "")
    assert {item.value for item in faults} == {*FAULTS, *RARE_FAULTS}
    assert all(item.help for item in faults)
    journeys = complete.get_completions(["load", "--journey"], "")
    assert [item.value for item in journeys] == [f"{name}=1" for name in JourneyWeights.model_fields]
    (file,) = complete.get_completions(["load", "--trace"], "arr")
    assert (file.type, file.value) == ("file", "arr")


def test_the_script_of_a_shell_completes_values() -> None:
    """As the script in bash calls the program."""
    environment = {
        "_HARNESS_COMPLETE": "bash_complete",
        "COMP_WORDS": "harness serve --fault two-t",
        "COMP_CWORD": "3",
    }
    done = CliRunner(env=environment).invoke(main, prog_name="harness")
    assert "plain,two-terminals" in done.output
