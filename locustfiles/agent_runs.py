"""Streamed agent runs under load: ``locust -f agent_runs.py --host URL``.

The target's settings come from HARNESS_CONFIG, harness.toml or HARNESS_* variables; ``--host`` wins over
their base_url, ``--harness-out DIR`` keeps the results.
"""

from locust import events

from harness.load.session import Session, settings_or_exit
from harness.load.users import AgentRunUser, ArrivalPump, weighted_tasks

settings = settings_or_exit()
Session(settings).listen(events)


class AgentRuns(AgentRunUser):
    """Users who start runs, retry them, cut and resume them, and misuse their keys."""

    abstract = settings.load.is_open
    tasks = weighted_tasks(settings.load.journeys.model_dump())


class Arrivals(ArrivalPump):
    """The same journeys, begun by a schedule."""

    abstract = not settings.load.is_open
    weights = settings.load.journeys.model_dump()
