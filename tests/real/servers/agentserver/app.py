"""A server of OpenAI's Responses API with a scripted model, by Microsoft's agent server: POST /v1/responses.

With ``background`` in a request, a stream goes on without its reader, and can be read again.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from azure.ai.agentserver.responses import (
    CreateResponse,
    InMemoryResponseProvider,
    ResponseContext,
    ResponsesAgentServerHost,
    ResponsesServerOptions,
    TextResponse,
)
from script import pieces


def make_app() -> ResponsesAgentServerHost:
    options = ResponsesServerOptions(sse_keep_alive_interval_seconds=2)
    app = ResponsesAgentServerHost(prefix="/v1", options=options, store=InMemoryResponseProvider())

    @app.response_handler
    async def respond(
        request: CreateResponse, context: ResponseContext, cancelled: asyncio.Event
    ) -> TextResponse:
        prompt = await context.get_input_text()
        return TextResponse(context, request, text=_until(cancelled, prompt))

    return app


async def _until(cancelled: asyncio.Event, prompt: str) -> AsyncIterator[str]:
    async for piece in pieces(prompt):
        if cancelled.is_set():
            return
        yield piece


if __name__ == "__main__":
    make_app().run(host="127.0.0.1", port=int(sys.argv[1]))
