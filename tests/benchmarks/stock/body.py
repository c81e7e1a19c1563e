"""The documented request, as sent by the stock clients. BENCH_API=openai-chat: that of OpenAI's chat completions."""

from __future__ import annotations

import json
import os

IS_CHAT = os.environ.get("BENCH_API") == "openai-chat"
PATH = "/v1/chat/completions" if IS_CHAT else "/agent/workflow-actions"
END = b"[DONE]"
HEADERS = {
    "Authorization": "Bearer demo-token",
    "Content-Type": "application/json",
    "Accept": "text/event-stream",
}
_CHAT = {"model": "m", "messages": [{"role": "user", "content": "tell me a tale"}], "stream": True}
_RUN = {
    "organizationId": "org-1",
    "sessionId": "session-1",
    "workflowAction": {
        "toolId": "echo",
        "toolName": "Echo",
        "aiDescription": "Returns a sentence, one token per word.",
        "runtimeScope": "demo",
    },
}
BODY = json.dumps(_CHAT if IS_CHAT else _RUN)
