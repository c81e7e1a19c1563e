"""A worker sends its token only to the target that its settings name, whatever its master says."""

from __future__ import annotations

from harness.errors import SettingsError


def refuse_other_target(own: str | None, of_master: str | None) -> None:
    """Raise SettingsError if the master names a different target than the worker's settings: it would get the token.

    own: None if the worker's settings name no target; then it is the master's.
    """
    if own and of_master and own.rstrip("/") != of_master.rstrip("/"):
        raise SettingsError(
            f"the master tests {of_master}, but the settings of this worker name {own}; give both the same target"
        )
