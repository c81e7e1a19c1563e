"""Locust for our own commands: ``python -m harness.load.locust.main`` takes Locust's command line, and that alone.

Locust also reads ``~/.locust.conf``, and ``locust.conf`` and ``pyproject.toml`` of the working directory. What these
say (another host, no users, a tag) would outrank the plan that a test was asked for, or keep it from starting.
"""

from __future__ import annotations

from typing import Any

from locust import argument_parser, main


class _WithoutFiles(argument_parser.LocustArgumentParser):
    """Locust's parser, which looks for no settings files."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "default_config_files": []})


def run() -> None:
    """Run Locust by sys.argv."""
    argument_parser.LocustArgumentParser = _WithoutFiles  # type: ignore[misc]
    main.main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    run()
