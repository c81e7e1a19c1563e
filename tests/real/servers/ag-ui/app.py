"""A pydantic-ai agent with a scripted model: POST / speaks AG-UI, POST /api/chat the AI SDK's UI message stream."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import uvicorn
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.ui.ag_ui import AGUIAdapter
from pydantic_ai.ui.vercel_ai import VercelAIAdapter
from script import pieces
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def scripted(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str]:
    prompts = [str(part.content) for part in messages[-1].parts if part.part_kind == "user-prompt"]
    async for piece in pieces(prompts[-1] if prompts else ""):
        yield piece


agent = Agent(FunctionModel(stream_function=scripted), retries=0)


async def ag_ui(request: Request) -> Response:
    return await AGUIAdapter.dispatch_request(request, agent=agent)


async def ai_sdk(request: Request) -> Response:
    return await VercelAIAdapter.dispatch_request(request, agent=agent)


if __name__ == "__main__":
    app = Starlette(
        routes=[Route("/", ag_ui, methods=["POST"]), Route("/api/chat", ai_sdk, methods=["POST"])]
    )
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
