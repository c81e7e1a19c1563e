"""The layout that a stranger relies on: a name has one meaning, a file one purpose."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FILE = 450


@cache
def modules() -> list[tuple[Path, ast.Module]]:
    return list(_modules())


def _modules() -> Iterator[tuple[Path, ast.Module]]:
    for top in ("harness", "conformance", "locustfiles", "reports"):
        for path in sorted((ROOT / top).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def type_names(module: ast.Module) -> Iterator[str]:
    """Classes and type aliases: names in CapWords that are defined at the top level."""
    for node in module.body:
        if isinstance(node, ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if (
                    isinstance(target, ast.Name)
                    and target.id.lstrip("_")[:1].isupper()
                    and not target.id.isupper()
                ):
                    yield target.id


def test_no_type_name_has_two_meanings() -> None:
    defined = defaultdict(list)
    for path, module in modules():
        for name in type_names(module):
            defined[name].append(str(path))
    assert len(defined) > 200
    assert {name: paths for name, paths in defined.items() if len(paths) > 1} == {}


def test_no_file_is_long() -> None:
    lengths = {
        str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path, _ in modules()
    }
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_property_is_judged_by_its_speed() -> None:
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check
    assert settings.get_profile("exhaustive").deadline is None


def test_every_package_is_installed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = {"harness"}
    for top in ("harness", "conformance", "locustfiles", "reports"):
        for file in (ROOT / top).rglob("__init__.py"):
            parts = file.parent.relative_to(ROOT).parts
            found.add(".".join(parts if top == "harness" else ("harness", *parts)))
    assert sorted(found) == declared["tool"]["setuptools"]["packages"]
