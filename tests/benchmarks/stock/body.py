"""The documented request, as sent by the stock clients."""

from __future__ import annotations

import json

PATH = "/agent/workflow-actions"
HEADERS = {
    "Authorization": "Bearer demo-token",
    "Content-Type": "application/json",
    "Accept": "text/event-stream",
}
BODY = json.dumps(
    {
        "organizationId": "org-1",
        "sessionId": "session-1",
        "workflowAction": {
            "toolId": "echo",
            "toolName": "Echo",
            "aiDescription": "Returns a sentence, one token per word.",
            "runtimeScope": "demo",
        },
    }
)
