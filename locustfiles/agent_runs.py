"""Streamed agent runs under load: ``locust -f agent_runs.py --host URL``.

The target's settings come from HARNESS_CONFIG, harness.toml or HARNESS_* variables; ``--host`` wins over
their base_url, ``--harness-out DIR`` keeps the results. In the web page the load's own can be changed.
"""

from locust import events

from harness.load.session import Session, settings_or_exit
from harness.load.users import ConfiguredUser


class AgentRuns(ConfiguredUser):
    """Users who start runs, retry them, cut and resume them, and misuse their keys."""


Session(settings_or_exit(), users=AgentRuns).listen(events)
