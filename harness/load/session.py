"""One Locust process during load tests: connects Locust's events to the users, the results and the other processes.

A process has users (local runner, worker), writes results (local runner, master), or both. A session lasts as long as
the process; the web page may start and stop several tests in it.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import gevent
from gevent.event import Event
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from harness.config.settings import Settings
from harness.config.sources import load_settings
from harness.config.target import Target
from harness.contract.evidence.redaction import Redactor
from harness.errors import SettingsError
from harness.exit_codes import ABORTED, INTERRUPTED
from harness.load.bounds.limits import limits_here, refuse_impossible, refuse_too_few
from harness.load.configurable import Configurable
from harness.load.distributed.links import MasterLink, WorkerLink
from harness.load.distributed.same_target import refuse_other_target
from harness.load.locust import process, upkeep
from harness.load.locust.guarded_output import guard_output
from harness.load.locust.options import add_options, path_option
from harness.load.locust.run_context import RunContext
from harness.load.schedule.plan import LoadPlan, WorkerShare
from harness.load.stats.process_monitor import ProcessMonitor
from harness.load.stats.recorder import free_file
from harness.load.stats.run_recording import RunRecording
from harness.load.stats.snapshot_publisher import SnapshotPublisher
from harness.load.stats.stats_batch import StatsBatch
from harness.load.web.form import LoadForm
from harness.results.saturation import MASTER
from harness.results.schema import RESULTS_FILE, ResultsError
from harness.run_clock import RUN_CLOCK

_LOCAL_START_AFTER_S = 0.5  # the pacer must be ready before the first arrival is due
_STARTED_WITHIN_S = 15.0  # more than a master waits for its workers
_READY_WITHIN_S = 15.0
_CHECK_READY_EVERY_S = 0.05
_QUIT_AFTER_S = 1.0  # when a headless test cannot start
_MOST_WORKERS = 100  # on other machines, while none has connected

logger = logging.getLogger(__name__)


class Session:
    """Listens to the events of one Locust process.

    users: the user class that follows the load settings; None if the locustfile's users have their own tasks.
    run_context: the current test, or the last one, in a process with users.
    """

    _sessions: ClassVar[WeakKeyDictionary[Environment, Session]] = WeakKeyDictionary()

    def __init__(self, settings: Settings, users: Configurable | None = None) -> None:
        self.settings = settings
        self.form = LoadForm(settings, has_load_fields=users is not None)
        self._users = users
        if users is not None:
            users.configure(settings.load, settings.target.api)
        self.run_context: RunContext | None = None
        self._recording: RunRecording | None = None
        self._tests_written = 0
        self._newest_results: Path | None = None
        self._interrupted = False
        self._stopping = False
        self.is_ready = False  # Locust's init event has been handled
        self._is_alone = False  # the command that started this process is gone
        self._started = Event()  # set unless a test is just being started
        self._started.set()
        self._master_monitor: ProcessMonitor | None = None  # a process with users has one in its run context
        self._lost: list[str] = []
        self._temporary_out: tempfile.TemporaryDirectory[str] | None = None
        self.publisher = SnapshotPublisher()
        self._worker_link: WorkerLink | None = None
        self._master_link: MasterLink | None = None

    @classmethod
    def of(cls, environment: Environment) -> Session | None:
        """The session of an environment; None before Locust's init event."""
        return cls._sessions.get(environment)

    @classmethod
    def wait_for(cls, environment: Environment) -> Session | None:
        """The session, once it is ready; None if the locustfile has none. For users, which may come before it."""
        session = cls.of(environment)
        if session is not None and session.is_ready:
            return session
        with gevent.Timeout(_READY_WITHIN_S, False):
            while (session := cls.of(environment)) is None or not session.is_ready:
                gevent.sleep(_CHECK_READY_EVERY_S)
            return session
        return None

    def listen(self, events: Any) -> None:
        """Register with Locust's events. Call it once, from a locustfile."""
        events.init_command_line_parser.add_listener(add_options)
        events.init_command_line_parser.add_listener(self._add_form_options)
        events.init.add_listener(self._on_init)
        process.watch_parent()

    def _add_form_options(self, parser: Any) -> None:
        self.form.add_to(parser)

    def _on_init(self, environment: Environment, runner: Any, web_ui: Any = None, **_: Any) -> None:
        self._sessions[environment] = self
        self._environment = environment
        self._own_target = environment.host or self.settings.target.base_url
        guard_output(runner, Redactor(self.settings.secrets()))
        upkeep.limit_locust(environment.stats)
        if not isinstance(runner, WorkerRunner):
            process.exit_on_error(self._check)
            self.publisher = SnapshotPublisher(path_option(environment.parsed_options, "harness_live"))
        if web_ui is not None:
            self._open_page(environment, web_ui)
        process.start_watching(self._on_hangup, records=not isinstance(runner, WorkerRunner))
        events: Any = environment.events
        events.quitting.add_listener(self._on_quitting)
        events.test_stopping.add_listener(self._on_test_stopping)
        events.test_stop.add_listener(self._on_test_stop)
        events.test_start.add_listener(self._on_test_start)
        if isinstance(runner, WorkerRunner):
            self._worker_link = WorkerLink(environment, runner)
        elif isinstance(runner, MasterRunner):
            self._master_link = MasterLink(
                environment, runner, self._add_batch, arrivals_finished=self._on_arrivals_finished
            )
        if isinstance(runner, WorkerRunner) and runner.worker_state in (STATE_SPAWNING, STATE_RUNNING):
            self._on_test_start()  # it joined a running test and got its users before this event
        self.is_ready = True

    def _on_hangup(self) -> None:
        """The terminal or the command that started this process is gone: stop soon, and complete the results."""
        self._is_alone = True
        self._environment.stop_timeout = process.STOP_ALONE_S

    def _check(self) -> None:
        """Check before the test whether it can start. Raises SettingsError and ResultsError."""
        if self._out is not None:
            free_file(self._out, first=True)
        options: Any = self._environment.parsed_options
        base_url = self.settings.target.base_url
        if not self._environment.host and base_url is not None:
            self._environment.host = base_url  # the web page shows it
        settings = self._with_form(with_host(self._environment.host), self.form.values(vars(options)))
        Target(settings)
        if options.headless or options.autostart:  # before Locust makes room for the users
            self._refuse_impossible(settings, options.num_users)

    def _open_page(self, environment: Environment, web_ui: Any) -> None:
        from harness.load.web.install import install  # imports flask, which only the page needs

        options: Any = environment.parsed_options
        if options.harness_out is None:
            self._temporary_out = tempfile.TemporaryDirectory(prefix="harness-page-")
            events: Any = environment.events
            events.quit.add_listener(self._remove_temporary_out)
        self._set_locust_fields(options)
        process.exit_on_error(lambda: install(self, environment, web_ui))

    def _remove_temporary_out(self, **_: Any) -> None:
        if self._temporary_out is not None:
            self._temporary_out.cleanup()

    def _set_locust_fields(self, options: Any) -> None:
        """Fill Locust's own form fields from the settings."""
        load = self.settings.load
        if load.is_open:
            return
        options.num_users = options.num_users or load.users
        options.spawn_rate = options.spawn_rate or load.spawn_rate
        if "duration" in load.model_fields_set:
            options.run_time = options.run_time or math.ceil(load.duration)

    def _with_form(self, settings: Settings, values: Mapping[str, str]) -> Settings:
        """The settings, overridden by the page's form or by command-line options. Raises SettingsError."""
        options: Any = self._environment.parsed_options
        if options.headless and values == self.form.defaults:
            return settings
        users = getattr(self._environment.runner, "target_user_count", None) or options.num_users
        return self.form.settings(settings, values, users=users, run_time_s=options.run_time)

    def prepare_test(self, users: int, values: Mapping[str, str]) -> Settings:
        """Check a test that the page is about to start, and return its settings.

        Raises SettingsError or ResultsError; then nothing has started.
        """
        if self.is_test_active:
            raise SettingsError("the previous test is still finishing; try again in a moment")
        settings = self._with_form(with_host(self._environment.host), values)
        Target(settings)
        runner: Any = self._environment.runner
        refuse_too_few(settings.load, runner.worker_count, users)
        self._refuse_impossible(settings, users)
        self._started.clear()
        return settings

    def _refuse_impossible(self, settings: Settings, users: int | None) -> None:
        """Raises SettingsError for a load that is far beyond what the workers can do. users: of a closed loop."""
        options: Any = self._environment.parsed_options
        runner: Any = self._environment.runner
        is_local = not isinstance(runner, MasterRunner) or bool(options.processes)
        workers = runner.worker_count or options.processes or options.expect_workers
        if not is_local and not runner.worker_count:
            workers = max(workers, _MOST_WORKERS)  # their number is known when the test starts
        load, limits = settings.load, limits_here(max(1, workers), local=is_local)
        refuse_impossible(
            load, users=None if load.is_open else users, spawn_rate=options.spawn_rate, limits=limits
        )

    def wait_until_started(self) -> None:
        """Wait until a test that the page is starting has started; before that it cannot be stopped."""
        self._started.wait(_STARTED_WITHIN_S)
        self._started.set()

    @property
    def is_test_active(self) -> bool:
        """Whether a test is starting or running, or its results are not completely written."""
        return self._recording is not None or not self._started.is_set()

    def flush_results(self) -> Path | None:
        """Write everything known so far to the newest test's results file. Returns the file; None before a test."""
        if self._recording is not None:
            self._recording.flush()
        return self._newest_results

    def set_users(self, users: int) -> None:
        """The number of users of a running closed loop is about to change. Raises SettingsError if it is impossible."""
        self._refuse_impossible(self.settings, users)
        live = None if self._recording is None else self._recording.live
        if live is not None and live.users is not None:
            live.users = users

    @property
    def _out(self) -> Path | None:
        options: Any = self._environment.parsed_options
        out = path_option(options, "harness_out")
        if out is None and not options.headless and self._temporary_out is not None:
            return Path(self._temporary_out.name)
        return out

    def _on_test_start(self, **_: Any) -> None:
        try:
            self._start(self._current_settings())
        except (SettingsError, ResultsError) as problem:
            # Without a run context every user stops at once: nothing is sent and nothing counted.
            logger.error("%s", problem)  # noqa: TRY400 - message for the user
            self._environment.process_exit_code = 2
            self.publisher.publish_error(str(problem))
            if self._worker_link is not None:
                self._worker_link.arrivals_finished()  # the master must not wait for its arrivals
            options: Any = self._environment.parsed_options
            if options.headless and self._worker_link is None and self._environment.runner is not None:
                gevent.spawn_later(_QUIT_AFTER_S, self._environment.runner.quit)
        finally:
            self._started.set()

    def _current_settings(self) -> Settings:
        if self._worker_link is not None:
            refuse_other_target(self._own_target, self._environment.host)
        settings = with_host(self._environment.host)
        if self._worker_link is not None:
            return settings  # the rest is in the master's plan
        return self._with_form(settings, self.form.values(vars(self._environment.parsed_options)))

    def _start(self, settings: Settings) -> None:
        RUN_CLOCK.start()
        self._interrupted = False
        self._stopping = False
        self._environment.process_exit_code = None  # of the previous test of this session
        runner: Any = self._environment.runner
        if self._worker_link is not None:
            self._start_users(settings, self._worker_link.plan(), f"worker-{runner.worker_index}")
            return
        refuse_too_few(settings.load, runner.worker_count, runner.target_user_count)
        self._refuse_impossible(settings, runner.target_user_count)
        if self._users is not None:
            self._users.configure(settings.load, settings.target.api)
        self._recording = self._open_recording(settings)
        if self._master_link is not None:
            self._master_monitor = ProcessMonitor(MASTER)
            self._master_monitor.start()
            self._recording.started(self._master_link.start(settings))
        else:
            process.tune()  # takes longer than a request, so before the schedule begins
            start_wall_ns = RUN_CLOCK.wall_ns() + int(_LOCAL_START_AFTER_S * 1e9)
            self._recording.started(start_wall_ns)
            plan = LoadPlan.of(settings, start_wall_ns, WorkerShare(0, 1))
            self._start_users(settings, plan, "local")

    def _start_users(self, settings: Settings, plan: LoadPlan | None, worker: str) -> None:
        if plan is None or (self.run_context is not None and self.run_context.test == plan.test):
            raise SettingsError("the master sent no plan for a new test; does it run the same locustfile?")
        if self._users is not None:
            self._users.configure(plan.load, settings.target.api)
        link = self._worker_link
        arrivals_finished = self._on_arrivals_finished if link is None else link.arrivals_finished
        self.run_context = RunContext(self._environment, settings, plan, worker, arrivals_finished)
        if link is not None:
            process.tune()
        self.run_context.start()
        if link is not None:
            link.open(plan.test, self.run_context.collector)

    def _open_recording(self, settings: Settings) -> RunRecording:
        Target(settings)  # refuse an impossible target before anything is recorded
        path = None
        if self._out is None:
            logger.warning(
                "no results are stored: --harness-out DIR stores them, for the report and the gate"
            )
        else:
            path = free_file(self._out, first=self._tests_written == 0)
            self._tests_written += 1
        options: Any = self._environment.parsed_options
        load = settings.load
        has_viewer = not options.headless or path_option(options, "harness_live") is not None
        recording = RunRecording(
            settings,
            path,
            self._own_batches,
            publish=self.publisher.publish if has_viewer else None,
            users=None if load.is_open else getattr(self._environment.runner, "target_user_count", None),
            lasts_s=load.duration if load.is_open else options.run_time,
            on_abort=self._abort,
            restarts=path_option(options, "harness_restarts"),
        )
        self._newest_results = path  # until now the file was empty
        return recording

    def _own_batches(self) -> Iterator[tuple[StatsBatch, str]]:
        """The process's own batches; the workers' arrive by the master link."""
        if self.run_context is not None and self._worker_link is None:
            collector = self.run_context.collector
            yield collector.take(), collector.worker
        if self._master_monitor is not None:
            batch = StatsBatch()
            self._master_monitor.report_to(batch)
            yield batch, MASTER

    def _add_batch(self, batch: StatsBatch, worker: str) -> None:
        if self._recording is not None:
            self._recording.add(batch, worker)
        elif batch:
            logger.error(
                "results of %s arrived after the results file was finished; they are missing", worker
            )

    def _on_arrivals_finished(self) -> None:
        """All arrivals of an open loop have started and ended: end the test, in a new greenlet."""
        logger.info("all scheduled arrivals have ended")
        gevent.spawn(self._end_test)

    def _end_test(self) -> None:
        if self._stopping:
            return
        runner, options = self._environment.runner, self._environment.parsed_options
        if runner is not None:
            (runner.quit if options is None or options.headless else runner.stop)()

    def _abort(self, reason: str) -> None:
        """End the test, in a new greenlet: a condition of abort_on was met."""
        logger.error("%s", reason)
        gevent.spawn(self._end_test)

    def _on_quitting(self, **_: Any) -> None:
        # A test that is still running when Locust quits was interrupted.
        if self._worker_link is not None:
            self._worker_link.drain()
        elif self._recording is not None:
            self._interrupted = True
            self._environment.process_exit_code = INTERRUPTED

    def _on_test_stopping(self, **_: Any) -> None:
        self._stopping = True
        if self._recording is not None and self._recording.live is not None:
            self._recording.live.stopping = True
        if self.run_context is not None:
            self.run_context.stopping.set()
        self._lost = self._master_link.finish() if self._master_link is not None else []

    def _on_test_stop(self, **_: Any) -> None:
        self._finish_test()
        options: Any = self._environment.parsed_options
        if not options.headless:  # there may be another test
            process.free_earlier_tests()

    def _finish_test(self) -> None:
        if self.run_context is not None:
            self.run_context.close()
        if self._master_monitor is not None:
            self._master_monitor.stop()
        if self._worker_link is not None:
            # Its users have ended, but Locust would wait for this time again before the worker is ready.
            self._environment.stop_timeout = 0.0
        recording = self._recording
        if recording is None or recording.closing:
            return
        state = "interrupted" if self._interrupted else "finished"
        exit_code = recording.close(state, self._lost, ends_test=self._is_alone)
        self._recording = None
        if exit_code != 2:
            self._log_next_steps()
        if exit_code in (2, ABORTED) or self._environment.process_exit_code is None:
            self._environment.process_exit_code = exit_code

    def _log_next_steps(self) -> None:
        """Log where the results are and what judges them, unless a command of the harness does it."""
        options: Any = self._environment.parsed_options
        path = self._newest_results
        if path is None or options.harness_out is None or path_option(options, "harness_live") is not None:
            return
        logger.info("results: %s", path)
        place = path.parent if path.name == RESULTS_FILE else path
        logger.info("no gate was evaluated; next: harness gate %s, harness report %s", place, place)


def with_host(host: str | None) -> Settings:
    """The current settings, with Locust's host as the target if there is one. Raises SettingsError."""
    return load_settings(flags={"target": {"base_url": host}} if host else None)


def settings_or_exit() -> Settings:
    """The settings. If they are wrong, print one sentence to standard error and exit with 2."""
    return process.exit_on_error(load_settings)
