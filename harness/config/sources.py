"""Loads settings. Command line options override ``HARNESS_*`` variables, which override the settings file.

The file is ``harness.toml``, or ``[tool.harness]`` in ``pyproject.toml``, in the working directory, unless one
is named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource
from pydantic_settings import SettingsError as UnreadableVariable

from harness.config.parsing import did_you_mean
from harness.config.settings import (
    CONFIG_FILE,
    CONFIG_VARIABLE,
    ENV_PREFIX,
    PASSWORD_VARIABLE,
    Settings,
)
from harness.errors import SettingsError
from harness.input_file import TOKEN_BYTES, read_text, read_toml
from harness.protocol.strict_json import has_lone_surrogate

_MESSAGE_CHARS = 300


#: What the settings file says, while settings are being loaded.
_file_values: ContextVar[Mapping[str, Any]] = ContextVar("file_values")


class _Loaded(Settings):
    """From all sources. A class takes several times as long to make as to fill, so there is one for all."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, dict(_file_values.get())),
        )


class _Alone(Settings):
    """From one document."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def read_token(path: Path) -> str:
    """Read a token from a file. Raises SettingsError."""
    token = read_text(path, "the token file", TOKEN_BYTES, piped=True).strip()
    if not token:
        raise SettingsError(f"the token file {path} is empty")
    return token


def load_settings(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Load the settings.

    config: the settings file; None uses HARNESS_CONFIG, then harness.toml or pyproject.toml in the working directory.
    flags: nested values that override all others. Raises SettingsError.
    """
    file_values, origin = _read_file(config)
    _refuse_unknown_variables()
    return _load(file_values, origin, flags or {})


def settings_alone(document: Mapping[str, Any], origin: str) -> Settings:
    """The settings in a document alone, without files and HARNESS_* variables.

    origin: where the document is from, for messages. Raises SettingsError.
    """
    try:
        return _Alone(**dict(document))
    except ValidationError as problem:
        raise _error(problem, origin) from None


def _load(file_values: Mapping[str, Any], origin: str, flags: Mapping[str, Any]) -> Settings:
    _refuse_unreadable(flags)
    token = _file_values.set(file_values)
    try:
        return _Loaded(**dict(flags))
    except ValidationError as problem:
        raise _error(problem, origin) from None
    except RecursionError:  # only variables are JSON that nothing has checked before
        raise SettingsError(f"an environment variable {ENV_PREFIX}… is nested too deep") from None
    except UnreadableVariable as problem:
        field = next((name for name in Settings.model_fields if f'"{name}"' in str(problem)), "")
        raise SettingsError(
            f"an environment variable {ENV_PREFIX}{field.upper()}… is not valid JSON: {problem.__cause__}"
        ) from None
    finally:
        _file_values.reset(token)


def _read_file(config: Path | None) -> tuple[dict[str, Any], str]:
    if config is None and os.environ.get(CONFIG_VARIABLE):
        config = Path(os.environ[CONFIG_VARIABLE])
    if config is not None:
        return _parse(config), str(config)
    if Path(CONFIG_FILE).exists():
        return _parse(Path(CONFIG_FILE)), CONFIG_FILE
    project = Path("pyproject.toml")
    if project.is_file():
        table = _parse(project).get("tool", {}).get("harness")
        if isinstance(table, dict):
            return table, "pyproject.toml [tool.harness]"
        if table is not None:
            raise SettingsError(
                "[tool.harness] in pyproject.toml is not a table; write the settings under it"
            )
    return {}, "the settings"


def _parse(path: Path) -> dict[str, Any]:
    return read_toml(path, "the settings file", piped=True)


def _refuse_unknown_variables() -> None:
    for name in os.environ:
        if not name.startswith(ENV_PREFIX) or name in {CONFIG_VARIABLE, PASSWORD_VARIABLE}:
            continue
        _require_text(os.environ[name], f"the environment variable {name}")
        first = name.removeprefix(ENV_PREFIX).partition("__")[0].lower()
        if first not in Settings.model_fields:
            homes = _sections_with(name.removeprefix(ENV_PREFIX).lower())
            known = [f"{ENV_PREFIX}{section}__{name.removeprefix(ENV_PREFIX)}".upper() for section in homes]
            hint = f"; did you mean {known[0]!r}?" if known else did_you_mean(first, Settings.model_fields)
            raise SettingsError(f"the environment variable {name} does not match a setting{hint}")


def _refuse_unreadable(flags: Mapping[str, Any]) -> None:
    """Raises SettingsError for command line options that are not text."""
    for section, values in flags.items():
        for name, value in values.items() if isinstance(values, Mapping) else ():
            if isinstance(value, str):
                _require_text(value, f"the command line option for {section}.{name}")


def _require_text(value: str, what: str) -> None:
    """Raises SettingsError for a value with bytes that are not UTF-8, which Python keeps as halves of characters."""
    if has_lone_surrogate(value):
        raise SettingsError(f"{what} is not UTF-8 text")


_UNION_BRANCH = re.compile(r"function-[a-z]+\[|constrained-str$")
"""How pydantic names the type, of several that a setting may have, for which a value was wrong."""


def _error(problem: ValidationError, origin: str) -> SettingsError:
    errors = problem.errors(include_url=False)
    first = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
    place = _cut(".".join(part for part in map(str, first["loc"]) if _UNION_BRANCH.match(part) is None))
    if first["type"] == "extra_forbidden":
        *parents, key = (str(part) for part in first["loc"])
        variable = ENV_PREFIX + "__".join([*parents, key]).upper()
        where = f"the environment variable {variable}" if variable in os.environ else origin
        homes = [section for section in _sections_with(key) if [section] != parents]
        hint = f"; did you mean '{homes[0]}.{key}'?" if homes else did_you_mean(key, _fields_at(parents))
        return SettingsError(f"unknown setting {place!r} in {where}{hint}")
    if first["type"] == "missing":
        variable = ENV_PREFIX + "__".join(str(part) for part in first["loc"]).upper()
        return SettingsError(f"the setting {place!r} is missing in {origin}; set it there or as {variable}")
    message, *details = (_cut(line) for line in first["msg"].removeprefix("Value error, ").splitlines())
    where = f"setting {place!r}: " if place else ""
    return SettingsError(f"{where}{message} (from flags, {ENV_PREFIX}* or {origin})", details)


def _cut(line: str) -> str:
    return line if len(line) <= _MESSAGE_CHARS else f"{line[:_MESSAGE_CHARS]}…"


def _sections_with(key: str) -> list[str]:
    """The sections that have a setting of that name."""
    sections = (name for name, field in Settings.model_fields.items() if _models(field.annotation))
    return [name for name in sections if key in _fields_at([name])]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation, which may be optional."""
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return [
        candidate
        for candidate in candidates
        if isinstance(candidate, type) and issubclass(candidate, BaseModel)
    ]


def _fields_at(path: list[str]) -> Mapping[str, Any]:
    model: Any = Settings
    for part in path:
        model = _models(model.model_fields[part].annotation)[0]
    fields: Mapping[str, Any] = model.model_fields
    return fields
