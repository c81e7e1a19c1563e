"""The APIs that the embedded server can have, by profile."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.profiles.profile import WORKFLOW_ACTIONS
from harness.reference.ag_ui import AgUiApi
from harness.reference.api import ReferenceApi
from harness.reference.openai_chat import OpenAiChatApi

APIS: Mapping[str, type[ReferenceApi]] = MappingProxyType(
    {WORKFLOW_ACTIONS: ReferenceApi, "openai-chat": OpenAiChatApi, "ag-ui": AgUiApi}
)
