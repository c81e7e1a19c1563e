from __future__ import annotations

import subprocess
import sys

TRIMMED = """
import gevent
from locust.stats import RequestStats

from harness.load.locust import upkeep

def counted():
    stats = RequestStats()
    for entry in (stats.total, stats.get("a", "POST")):
        for second in range(1000):
            entry.num_reqs_per_sec[second] += 1
            entry.num_fail_per_sec[second] += 1
    stats.total.start_time, stats.total.last_request_timestamp = 0.0, 999.5
    stats.total.num_requests = 1000
    return stats

def shown(entry):
    return entry.current_rps, entry.current_fail_per_sec, entry.total_rps

stats = counted()
before = shown(stats.total)
upkeep.trim(stats)
newest = list(range(1000 - upkeep.SECONDS_KEPT, 1000))
for entry in (stats.total, stats.get("a", "POST")):
    assert list(entry.num_reqs_per_sec) == list(entry.num_fail_per_sec) == newest
assert before[0] == 1
assert shown(stats.total) == before  # a second without a count would be one without a request

most = 0
for number in range(20_000):
    stats.history.append({"time": number})
    upkeep.trim(stats)
    most = max(most, len(stats.history))
times = [point["time"] for point in stats.history]
assert most == upkeep.POINTS_KEPT
assert times == sorted(times)
assert (times[0], times[-1]) == (0, 19_999)

upkeep._EVERY_S = 0.001
stats = counted()
upkeep.limit_locust(stats)
with gevent.Timeout(30):
    while len(stats.total.num_reqs_per_sec) > upkeep.SECONDS_KEPT:
        gevent.sleep(0.001)
"""

ONE_PARSER = """
from locust import argument_parser
from locust.stats import RequestStats

from harness.load.locust import upkeep

built = []
make = argument_parser.get_empty_argument_parser
argument_parser.get_empty_argument_parser = lambda *a, **b: built.append(1) or make(*a, **b)
names = argument_parser.default_args_dict()
built.clear()
upkeep.limit_locust(RequestStats())
upkeep.limit_locust(RequestStats())
assert [argument_parser.default_args_dict() for _ in range(50)] == [names] * 50
assert len(built) == 1, built
"""

QUICK_STOP = """
import inspect, logging
from locust import runners
from locust.env import Environment

from harness.load.locust import upkeep

def searched(*_):
    raise AssertionError("searched for the source of a frame")

environment = Environment()
runner = environment.create_local_runner()
upkeep.limit_locust(environment.stats)
inspect.findsource = inspect.getmodule = searched
messages = []
logging.getLogger("locust.runners").addFilter(lambda record: messages.append(record.getMessage()))
logging.getLogger("locust.runners").setLevel(logging.DEBUG)
runner.state = "running"
line = inspect.currentframe().f_lineno + 1
runners.Runner.stop(runner)
assert f"Stopping all users (called from <string>:{line})" in messages, messages
"""


def test_what_locust_keeps_and_does_is_bounded() -> None:
    """In a process of its own, because Locust patches the interpreter."""
    script = f"{ONE_PARSER}\n{TRIMMED}\n{QUICK_STOP}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
