"""Agent runs under load: ``locust -f agent_runs.py --host URL``.

The target's settings come from HARNESS_CONFIG, harness.toml or HARNESS_* variables; ``--host`` overrides their
base_url. ``--harness-out DIR`` writes the results. The load settings can be changed on the web page.
"""

from locust import events

from harness.load.session import Session, settings_or_exit
from harness.load.users import ConfiguredUser


class AgentRuns(ConfiguredUser):
    """Users that run the journeys of the load settings."""


Session(settings_or_exit(), users=AgentRuns).listen(events)
