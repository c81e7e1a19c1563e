"""One Locust process's part in load tests: from Locust's events to targets, books and links.

A process has users (local runner, worker), or writes results (local runner, master), or both. A session
lasts as long as the process and sees tests come and go, as the web page starts and stops them.
"""

from __future__ import annotations

import gc
import inspect
import logging
import math
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar
from weakref import WeakKeyDictionary

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from harness.config.load_settings import LoadSettings
from harness.config.settings import Settings
from harness.config.sources import load_settings
from harness.config.target import Target
from harness.errors import SettingsError
from harness.exit_codes import INTERRUPTED
from harness.export.otel import Pusher, interval_s
from harness.gate.objective import parse_objectives
from harness.load.distributed.links import MasterLink, WorkerLink
from harness.load.locust.run_context import RunContext
from harness.load.schedule.plan import LoadPlan, WorkerShare
from harness.load.stats.live import LiveStats, SnapshotPublisher
from harness.load.stats.otlp_push import OtlpPush
from harness.load.stats.process_monitor import ProcessMonitor
from harness.load.stats.recorder import ResultsRecorder, free_file
from harness.load.stats.stats_batch import StatsBatch
from harness.load.web.form import LoadForm
from harness.results import metrics
from harness.results.manifest import manifest_at_start
from harness.results.schema import ResultsError

_LOCAL_START_AFTER_S = 0.1
_BEGUN_WITHIN_S = 15.0  # more than a master waits for its workers
_LEAVE_AFTER_S = 1.0  # when a test cannot start, and nobody is there to start another
_LOOK_AT_PARENT_S = 0.5
_SWITCH_S = 0.0005
_GC_THRESHOLDS = (20_000, 20, 100)
_ANY_HOST = "http://localhost"  # stands for the one that the web page will be given

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Configurable(Protocol):
    """A class of users that do what the load settings say."""

    def configure(self, load: LoadSettings) -> None:
        """From the next user on, do what these settings say."""


class Session:
    """Listens to one Locust process. `of` finds it again from an environment.

    users: the class of those that follow the load settings; None where users have tasks of their own.
    """

    _sessions: ClassVar[WeakKeyDictionary[Environment, Session]] = WeakKeyDictionary()

    def __init__(self, settings: Settings, users: Configurable | None = None) -> None:
        self.settings = settings
        self.form = LoadForm(settings, drives=users is not None)
        self._users = users
        if users is not None:
            users.configure(settings.load)
        self.active: RunContext | None = None
        self._books: ResultsRecorder | None = None
        self._tests_written = 0
        self._newest_results: Path | None = None
        self._interrupted = False
        self._stopping = False
        self._begun = Event()  # no test is just being started
        self._begun.set()
        self._health: ProcessMonitor | None = (
            None  # of a master: a process with users has one in its active test
        )
        self._lost: list[str] = []
        self._live: LiveStats | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.board = SnapshotPublisher()
        self._worker_link: WorkerLink | None = None
        self._master_link: MasterLink | None = None

    @classmethod
    def of(cls, environment: Environment) -> Session | None:
        """The session of that environment; None before it takes part."""
        return cls._sessions.get(environment)

    def listen(self, events: Any) -> None:
        """Take part in what Locust does; call it once, from a locustfile."""
        events.init_command_line_parser.add_listener(_add_options)
        events.init_command_line_parser.add_listener(self._add_form)
        events.init.add_listener(self._on_init)
        gevent.spawn(_follow_parent, os.getpid())

    def _add_form(self, parser: Any) -> None:
        self.form.add_to(parser)

    def _on_init(self, environment: Environment, runner: Any, web_ui: Any = None, **_: Any) -> None:
        self._sessions[environment] = self
        self._environment = environment
        if not isinstance(runner, WorkerRunner):
            _or_exit(self._check)
            self.board = SnapshotPublisher(self._option_path("harness_live"))
        if web_ui is not None:
            self._open_page(environment, web_ui)
        # The hub's clock stood still during the imports, and Locust's --run-time would begin back then.
        gevent.get_hub().loop.update_now()
        gevent.signal_handler(signal.SIGINT, _once(_interrupt_main_greenlet))
        events: Any = environment.events
        events.quitting.add_listener(self._on_quitting)
        events.test_stopping.add_listener(self._on_test_stopping)
        events.test_stop.add_listener(self._on_test_stop)
        events.test_start.add_listener(self._on_test_start)
        if isinstance(runner, WorkerRunner):
            self._worker_link = WorkerLink(environment, runner)
        elif isinstance(runner, MasterRunner):
            self._master_link = MasterLink(environment, runner, self._deliver, arrived=self._end_schedule)

    def _check(self) -> None:
        """Find out before the test whether it can start. Raises SettingsError and ResultsError."""
        if self._out is not None:
            free_file(self._out, first=True)
        options: Any = self._environment.parsed_options
        base_url = self.settings.target.base_url
        if not self._environment.host and base_url is not None:
            self._environment.host = base_url  # the web page shows it
        asked_later = not options.headless and not self._environment.host
        settings = with_host(_ANY_HOST if asked_later else self._environment.host)
        Target(self._with_form(settings, self.form.values(vars(options))))

    def _open_page(self, environment: Environment, web_ui: Any) -> None:
        from harness.load.web.page import LocustPage  # it imports flask, which only a page needs

        options: Any = environment.parsed_options
        if options.harness_out is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="harness-page-")
            events: Any = environment.events
            events.quit.add_listener(self._remove_scratch)
        self._fill_in(options)
        LocustPage(self, environment, web_ui).attach()

    def _remove_scratch(self, **_: Any) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()

    def _fill_in(self, options: Any) -> None:
        """Locust's own fields of the page as the settings have them."""
        load = self.settings.load
        if load.is_open:
            return
        options.num_users = options.num_users or load.users
        options.spawn_rate = options.spawn_rate or load.spawn_rate
        if "duration" in load.model_fields_set:
            options.run_time = options.run_time or math.ceil(load.duration)

    def _with_form(self, settings: Settings, values: Mapping[str, str]) -> Settings:
        """What the page's form says wins; without a page, the options that were given. Raises SettingsError."""
        options: Any = self._environment.parsed_options
        if options.headless and values == self.form.filled:
            return settings
        users = getattr(self._environment.runner, "target_user_count", None) or options.num_users
        return self.form.settings(settings, values, users=users, run_time_s=options.run_time)

    def refuse_or_not(self, host: str | None, users: int, values: Mapping[str, str]) -> Settings:
        """The settings of a test that the page is to start. Raises SettingsError or ResultsError, and nothing
        has begun then.
        """
        if self.is_open:
            raise SettingsError("the last test is still ending; start the next one in a moment")
        settings = self._with_form(with_host(host), values)
        Target(settings)
        _check_pumps(settings, self._environment.runner, users)
        self._begun.clear()
        return settings

    def await_begin(self) -> None:
        """Wait until a test that the page starts has begun: half begun it could not be stopped."""
        self._begun.wait(_BEGUN_WITHIN_S)
        self._begun.set()

    @property
    def is_open(self) -> bool:
        """Whether a test is going on, or its results are not yet all written."""
        return self._books is not None or not self._begun.is_set()

    def flush(self) -> Path | None:
        """Write what is known by now to the results file of the newest test, and say which; None before one."""
        if self._books is not None:
            self._books.flush()
        return self._newest_results

    def users_are_now(self, users: int) -> None:
        """Somebody changed, in mid-test, how many users a closed loop has."""
        if self._live is not None and self._live.users is not None:
            self._live.users = users

    @property
    def _out(self) -> Path | None:
        given = self._option_path("harness_out")
        options: Any = self._environment.parsed_options
        if given is None and not options.headless and self._scratch is not None:
            return Path(self._scratch.name)
        return given

    def _option_path(self, name: str) -> Path | None:
        given = getattr(self._environment.parsed_options, name, None)
        return Path(given) if given else None

    def _on_test_start(self, **_: Any) -> None:
        try:
            self._start(self._settings())
        except (SettingsError, ResultsError) as problem:
            # Without an active test every user stops at once, so nothing is sent and nothing counted.
            logger.error("%s", problem)  # noqa: TRY400 - a sentence for the user
            self._environment.process_exit_code = 2
            self.board.publish_error(str(problem))
            if self._worker_link is not None:
                self._worker_link.pumped()  # nobody is to wait for its arrivals
            options: Any = self._environment.parsed_options
            if options.headless and self._worker_link is None and self._environment.runner is not None:
                gevent.spawn_later(_LEAVE_AFTER_S, self._environment.runner.quit)
        finally:
            self._begun.set()

    def _settings(self) -> Settings:
        settings = with_host(self._environment.host)
        if self._worker_link is not None:
            return settings  # the master's plan says the rest
        return self._with_form(settings, self.form.values(vars(self._environment.parsed_options)))

    def _start(self, settings: Settings) -> None:
        self._interrupted = False
        self._stopping = False
        self._environment.process_exit_code = None  # of the test before, in a session of several
        runner: Any = self._environment.runner
        if self._worker_link is not None:
            self._start_users(settings, self._worker_link.plan(), f"worker-{runner.worker_index}")
            return
        _check_pumps(settings, runner, runner.target_user_count)
        if self._users is not None:
            self._users.configure(settings.load)
        self._open_recorder(settings)
        if self._master_link is not None:
            self._health = ProcessMonitor(metrics.MASTER)
            self._health.start()
            self._recorder_started(self._master_link.start(settings), settings)
        else:
            start_wall_ns = time.time_ns() + int(_LOCAL_START_AFTER_S * 1e9)
            self._recorder_started(start_wall_ns, settings)
            plan = LoadPlan(
                uuid.uuid4().hex, start_wall_ns, settings.load, WorkerShare(0, 1), settings.objectives
            )
            self._start_users(settings, plan, "local")

    def _start_users(self, settings: Settings, plan: LoadPlan | None, worker: str) -> None:
        if plan is None or (self.active is not None and self.active.test == plan.test):
            raise SettingsError("the master named no new test; does it run the same locustfile?")
        if self._users is not None:
            self._users.configure(plan.load)
        pumped = self._end_schedule if self._worker_link is None else self._worker_link.pumped
        self.active = RunContext(self._environment, settings, plan, worker, pumped)
        # Locust calls it when a test stops; the first time takes 50 ms and more, in which no stream is read.
        inspect.stack()
        # What the imports left is not searched again: a full collection of it stops every stream for 0.1 s.
        gc.collect()
        gc.freeze()
        # Streams leave no cycles behind, so looking for some every 700 objects finds nothing and stops them all.
        gc.set_threshold(*_GC_THRESHOLDS)
        # The thread that writes results gives way to the hub sooner than Python's 5 ms.
        sys.setswitchinterval(_SWITCH_S)
        self.active.health.start()
        if self._worker_link is not None:
            self._worker_link.open(plan.test, self.active.collector)

    def _open_recorder(self, settings: Settings) -> None:
        Target(settings)  # a target that cannot be is refused here, before anything is told of it
        path = None
        if self._out is not None:
            path = free_file(self._out, first=self._tests_written == 0)
            self._tests_written += 1
        self._newest_results = path
        live = self._open_live(settings, path)
        self._books = ResultsRecorder(
            path,
            manifest_at_start(settings.document(), sys.argv),
            self._collect,
            keep_runs=settings.load.keep_runs,
            listeners=[*([] if live is None else [live]), *_telemetry(settings)],
        )
        self._live = live
        if live is not None:
            live.flush()

    def _open_live(self, settings: Settings, results: Path | None) -> LiveStats | None:
        """Where somebody may look at it: a page, or a file that was asked for."""
        options: Any = self._environment.parsed_options
        if options.headless and self._option_path("harness_live") is None:
            return None
        load, runner = settings.load, self._environment.runner
        return LiveStats(
            uuid.uuid4().hex,
            self.board.publish,
            target=settings.target.base_url or "",
            plan=load.describe if load.is_open else "",
            users=None if load.is_open else getattr(runner, "target_user_count", None),
            results=results,
            objectives=parse_objectives(settings.objectives),
            has_warmup=load.warmup > 0,
            lasts_s=load.duration if load.is_open else options.run_time,
        )

    def _recorder_started(self, start_wall_ns: int, settings: Settings) -> None:
        if self._books is not None:
            self._books.started(start_wall_ns, settings.load.warmup)

    def _collect(self) -> None:
        if self._live is not None and self._books is not None:
            self._live.problem = self._books.problem
        if self.active is not None and self._worker_link is None:
            self._deliver(self.active.collector.take(), self.active.collector.worker)
        if self._health is not None:
            delta = StatsBatch()
            self._health.report_to(delta)
            self._deliver(delta, metrics.MASTER)

    def _deliver(self, delta: Any, worker: str) -> None:
        if self._books is not None:
            self._books.add(delta, worker)
        elif delta:
            logger.error("counts of %s came when the results were already written", worker)

    def _end_schedule(self) -> None:
        """An open loop's arrivals have all begun and ended, so the test has: in a greenlet of its own."""
        gevent.spawn(self._end_test)

    def _end_test(self) -> None:
        if self._stopping:
            return
        runner, options = self._environment.runner, self._environment.parsed_options
        logger.info("the schedule has come to its end, and so have its streams")
        if runner is not None:
            (runner.quit if options is None or options.headless else runner.stop)()

    def _on_quitting(self, **_: Any) -> None:
        # A test that is still going on when Locust quits did not come to its end by itself.
        if self._worker_link is not None:
            self._worker_link.drain()
        elif self._books is not None:
            self._interrupted = True
            self._environment.process_exit_code = INTERRUPTED

    def _on_test_stopping(self, **_: Any) -> None:
        self._stopping = True
        if self._live is not None:
            self._live.stopping = True
        if self.active is not None:
            self.active.stopping.set()
        self._lost = self._master_link.finish() if self._master_link is not None else []

    def _on_test_stop(self, **_: Any) -> None:
        if self.active is not None:
            self.active.close()
        if self._health is not None:
            self._health.stop()
        if self._worker_link is not None:
            # Its users have ended. Locust would let it pass once more before the worker is ready for another test.
            self._environment.stop_timeout = 0.0
        books = self._books
        if books is None or books.closing:
            return
        books.close("interrupted" if self._interrupted else "finished", self._lost)
        self._books = None
        logger.info("%s", books.summary_line())
        self._set_exit_code(books)

    def _set_exit_code(self, books: ResultsRecorder) -> None:
        """Say what makes the results less than whole, and fail the process for it."""
        if books.problem is not None:
            self._environment.process_exit_code = 2
            return
        if self._lost:
            logger.error(
                "the last counts of %s are missing: it died, or could not stop", ", ".join(self._lost)
            )
        if not books.ledger.adds_up:
            logger.error("the ledger does not add up: %d streams are missing", books.ledger.missing)
        unsound = self._lost or books.faults or not books.ledger.adds_up
        if unsound and self._environment.process_exit_code is None:
            self._environment.process_exit_code = 1


def with_host(host: str | None) -> Settings:
    """The settings as they are now, with Locust's host as the target where one is given.

    Raises SettingsError.
    """
    return load_settings(flags={"target": {"base_url": host}} if host else None)


def settings_or_exit() -> Settings:
    """The settings; where they are wrong, one sentence on standard error and exit code 2."""
    return _or_exit(load_settings)


def _or_exit(work: Callable[[], T]) -> T:
    try:
        return work()
    except (SettingsError, ResultsError) as problem:
        sys.stderr.write(f"error: {problem}\n")
        sys.exit(2)


def _check_pumps(settings: Settings, runner: Any, users: int) -> None:
    workers, limit = runner.worker_count, settings.load.max_in_flight
    if limit is not None and limit < workers:
        raise SettingsError(
            f"max_in_flight is shared by the workers, and {limit} is too few for {workers} of them; raise it"
        )
    if settings.load.is_open and users < workers:
        raise SettingsError(
            f"an open loop needs a user per worker to pump its arrivals: {workers} workers, and "
            f"{users} users; start it with --users {workers}"
        )


def _telemetry(settings: Settings) -> Iterator[OtlpPush]:
    """What pushes the numbers to a collector, where there is one. Raises ResultsError."""
    if settings.export.otlp_endpoint is not None:
        yield OtlpPush(
            Pusher(settings.export.otlp_endpoint, time.time_ns()),
            target=settings.target.base_url or "",
            has_warmup=settings.load.warmup > 0,
            every_s=interval_s(),
        )


def _add_options(parser: Any) -> None:
    parser.add_argument(
        "--harness-out",
        metavar="DIR",
        default=None,
        include_in_web_ui=False,
        help="Write results.sqlite and summary.json of each test to this directory",
    )
    parser.add_argument(
        "--harness-live",
        metavar="FILE",
        default=None,
        include_in_web_ui=False,
        help="Keep this file up to date with the test's numbers, as JSON, once a second",
    )


def _once(work: Callable[[], None]) -> Callable[[], None]:
    """Only the first call does it: a second Ctrl-C must not break off the writing of results."""
    done: list[bool] = []

    def call() -> None:
        if not done:
            done.append(True)
            work()

    return call


def _interrupt_main_greenlet() -> None:
    # By default KeyboardInterrupt strikes wherever Python happens to be, and so between the reading of
    # bytes and their decoding: a stream would look as if the server had lost some.
    gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())


def _follow_parent(first_pid: int) -> None:
    """In a worker that was forked: end when the process that forked it has ended.

    Locust tells its workers to quit where it can, and otherwise they would go on for a minute: with the
    load, when their master was killed. This greenlet is made before the fork, so every worker has its own.
    """
    while os.getpid() == first_pid or os.getppid() == first_pid:
        gevent.sleep(_LOOK_AT_PARENT_S)
    os.kill(os.getpid(), signal.SIGTERM)
