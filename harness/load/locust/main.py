"""Locust without config files: ``python -m harness.load.locust.main`` takes Locust's command line only.

Locust also reads ``~/.locust.conf``, ``locust.conf`` and ``pyproject.toml``. Their settings (a host, users, tags) would
override the test's plan or keep it from starting.
"""

from __future__ import annotations

from typing import Any

from locust import argument_parser, main


class _WithoutFiles(argument_parser.LocustArgumentParser):
    """Locust's parser without default config files."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "default_config_files": []})


def run() -> None:
    """Run Locust with sys.argv."""
    argument_parser.LocustArgumentParser = _WithoutFiles  # type: ignore[misc]
    main.main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    run()
