"""What a session needs of the user class that follows the load settings."""

from __future__ import annotations

from typing import Protocol

from harness.config.load_settings import LoadSettings
from harness.profiles.profile import Profile


class Configurable(Protocol):
    """A user class that follows the load settings."""

    def configure(self, load: LoadSettings, profile: Profile) -> None:
        """Follow these settings from the next user on. profile: the target's API."""
