"""An agno AgentOS with one agent, whose model is scripted."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from agno.agent import Agent
from agno.db.redis import RedisDb
from agno.exceptions import RunCancelledException
from agno.job_queue.config import QueueConfig
from agno.models.base import Model
from agno.models.response import ModelResponse
from agno.os import AgentOS
from agno.os.settings import AgnoAPISettings
from script import ScriptedCancelError, pieces


@dataclass
class Scripted(Model):
    """Answers with the pieces of the script."""

    id: str = "scripted"
    name: str = "scripted"
    provider: str = "scripted"

    def invoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        raise NotImplementedError("only streams")

    async def ainvoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        text = [piece async for piece in pieces(_prompt(kwargs))]
        return ModelResponse(role="assistant", content="".join(text))

    def invoke_stream(self, *args: Any, **kwargs: Any) -> Iterator[ModelResponse]:
        raise NotImplementedError("only asynchronous streams")

    async def ainvoke_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ModelResponse]:
        try:
            async for piece in pieces(_prompt(kwargs)):
                yield ModelResponse(role="assistant", content=piece)
        except ScriptedCancelError as cancelled:
            raise RunCancelledException(str(cancelled)) from None

    def _parse_provider_response(self, response: Any, **kwargs: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response


def _prompt(call: dict[str, Any]) -> str:
    messages = [message for message in call["messages"] if message.role == "user"]
    return str(messages[-1].content)


if __name__ == "__main__":
    port, redis_port = int(sys.argv[1]), sys.argv[2]
    database = RedisDb(db_url=f"redis://127.0.0.1:{redis_port}")
    agent = Agent(
        id="echo",
        name="echo",
        model=Scripted(),
        db=database,
        telemetry=False,
        retries=0,
    )
    system = AgentOS(
        agents=[agent],
        settings=AgnoAPISettings(os_security_key="real-token"),
        # Only a durable queue knows the Idempotency-Key. It executes as many runs at a time as the suite has.
        queue=QueueConfig(durable=True, db=database, max_concurrency=100),
        telemetry=False,
    )
    uvicorn.run(system.get_app(), host="127.0.0.1", port=port, log_level="warning")
