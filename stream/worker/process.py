"""The worker process: waits for Kafka, checks the topics, runs the application, and ends in bounded time, with a reason
where there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from random import Random
from typing import Any, NoReturn

import uvloop
from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream.causes import Cause, Trouble, rank
from stream.kafka.clients import describe, mute_unread_failures
from stream.kafka.source import SourceTopic
from stream.kafka.unpacking import unpacked_limit
from stream.ports import WorkerMustStop
from stream.projection import dropped_days
from stream.projection.replica import empty
from stream.projection.row_retention import Limits, RowLimits, keep_quietly
from stream.projection.worker_status import WorkerStatus
from stream.retry import BackOff
from stream.settings.logs import configure
from stream.settings.redis import KeepingRedis, redis_client
from stream.settings.redis_url import without_password
from stream.settings.redis_words import describe_redis
from stream.settings.worker import CommitMode, WorkerConfig
from stream.tables.rules import counting_rules
from stream.tracing import NO_TRACER, Tracer
from stream.version import VERSION
from stream.worker.application import Application, MakeApplication
from stream.worker.certificates import certificate_ends
from stream.worker.clocks import SystemClock
from stream.worker.dependencies import Dependencies
from stream.worker.ends import ask_for_ends
from stream.worker.form import choose_form
from stream.worker.listener import Phase
from stream.worker.loop_guard import LoopGuard
from stream.worker.metrics import Metrics
from stream.worker.observer import Reporter
from stream.worker.partition_task import OwnedPartition
from stream.worker.probes import Health
from stream.worker.readiness import Readiness
from stream.worker.sampling import Sampler
from stream.worker.topic_check import wait_for_topics, watch_settings
from stream.worker.watchdog import Watchdog
from stream.worker.wiring import Wiring

log = logging.getLogger(__name__)

STOPPED_BY_ITSELF = 1
WATCH_SECONDS = 1.0
MONITOR_SECONDS = 3.0
ROW_LIMITS_SECONDS = 5.0
REDIS_SECONDS = 5.0
# After the time for a stop: what is left then is ended by a thread.
HARD_END_SECONDS = 3.0


def run(config: WorkerConfig, make_application: MakeApplication, tracer: Tracer = NO_TRACER) -> NoReturn:
    """Run a worker until it is told to stop (SIGINT, SIGTERM) or must; ends the process, with 0 if it was told."""
    configure(config.log_format, config.log_level)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # for the thread of Faust's consumer too
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    mute_unread_failures(loop)
    code = loop.run_until_complete(Worker(config, make_application, tracer).run())
    tracer.close()
    # Tasks and threads of libraries that hang on a broker that is away must not keep a process that has said all.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class Worker:
    def __init__(self, config: WorkerConfig, make_application: MakeApplication, tracer: Tracer = NO_TRACER) -> None:
        self._config = config
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._clock = SystemClock()
        self._started_ms = self._clock.now_ms()
        self._metrics = Metrics()
        self._metrics.worker_info.labels(self._name).set(1)
        self._dependencies = Dependencies(self._metrics, self._clock)
        self._reporter = Reporter(self._metrics, self._clock)
        self._health = Health(self._metrics.registry, self._facts)
        # No call is sent again by the client: of two copies the later might undo what came between. A resync does it.
        self._redis: Redis = redis_client(config.redis, timeout_seconds=REDIS_SECONDS, retries=0, kind=KeepingRedis)
        unpacked_bytes = unpacked_limit(config.max_event_bytes)
        self._source = SourceTopic(config.access, config.topic, unpacked_bytes)
        self._old_records = SourceTopic(config.access, config.topic, unpacked_bytes)
        self._wiring = Wiring(
            config,
            rules=counting_rules(config),
            worker=self._name,
            redis=self._redis,
            source=self._source,
            old_records=self._old_records,
            clock=self._clock,
            steady=time.monotonic,
            listener=self._reporter,
            note_evictions=self._metrics.note_evictions,
            stop_worker=self._end_with,
            tracer=tracer,
        )
        self._clocks = self._wiring.clocks
        self._metrics.show_server(self._wiring.evictions)
        self._sampler = Sampler(
            self._wiring.sampled, Random(), config.verify_samples_an_hour, self._metrics.note_sample
        )
        self._metrics.clock_difference.set_function(lambda: self._clocks.difference_seconds() or 0.0)
        self._status = WorkerStatus(
            self._redis, self._wiring.keys, self._name, self._status_as_json, self._dependencies.note_redis
        )
        self._make_application = make_application
        self._app: Application | None = None
        self._started = False
        self._topics_differ: tuple[str, ...] = ()
        self._readiness = Readiness()
        self._guard = LoopGuard()
        self._stop = asyncio.Event()
        self._reason: Exception | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        config = self._config
        log.info(
            "worker %s starts: version %s, group %s, topic %s, Kafka %s, Redis %s, core %s",
            self._name,
            VERSION,
            config.group,
            config.topic,
            config.kafka,
            without_password(config.redis),
            config.core,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        try:
            await self._health.start(self._config.worker_host, self._config.worker_port)
        except OSError as error:
            log.error(
                "the worker ends: port %d of the probes cannot be opened (%s); CONTACTS_WORKER_PORT names another",
                self._config.worker_port,
                error.strerror or error,
            )
            return STOPPED_BY_ITSELF
        telling = asyncio.create_task(self._status.watch())
        work = asyncio.create_task(self._work())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
        telling.cancel()
        await self._end(work)
        if self._reason is not None:
            return STOPPED_BY_ITSELF
        log.info("stopped")
        return 0

    async def _work(self) -> None:
        try:
            form = choose_form(self._config.core, self._wiring.keys)
            self._wiring.unpack, self._wiring.new_table = form.unpack, form.new_table
            log.info("counting in the %s form: %s", form.name, form.why)
            self._metrics.build_info.labels(VERSION, form.name).set(1)
            for name, ends in certificate_ends(self._config).items():
                self._metrics.certificate_ends.labels(name).set(ends)
            await self._wiring.evictions.refuse_at_start()
            found = await wait_for_topics(self._config, self._readiness, self._dependencies.note_kafka)
            self._wiring.letter_bytes = found.letter_bytes
            self._note_topics(found.differences)
            await self._wait_for_redis()
            self._readiness.waits_for = "waits for Kafka to let it into its consumer group"
            await self._source.start()
            self._app = self._make_application(self._config, found.partitions, self._make)
            self._app.partitions.listen(self._reporter.note_rebalance)
            await self._app.start()
            self._started, self._readiness.waits_for = True, None
            gc.collect()
            gc.freeze()
            gc.set_threshold(
                100_000, 20, 100
            )  # millions of small containers that hold no cycles: passes over them cost a third of the counting
            await until_one_ends(
                ask_for_ends(self._app.partitions, self._source, self._reporter.end, self._dependencies.note_kafka),
                self._watch(self._app),
                self._clocks.watch(),
                self._limit_rows(self._app),
                self._wiring.evictions.watch(),
                self._sampler.watch(self._app.partitions),
                watch_settings(self._config, found.differences, self._note_topics),
            )
        except asyncio.CancelledError:
            raise
        except WorkerMustStop as error:
            self._end_with(error)
        except Exception as error:
            log.exception("the worker failed")
            self._end_with(error)

    def _end_with(self, reason: Exception) -> None:
        self._reason = self._reason or reason
        self._stop.set()

    async def _end(self, work: asyncio.Task[None]) -> None:
        """Stop in bounded time, whatever hangs: tasks that lose their cancel, and a loop that is blocked."""
        if self._reason is not None:
            log.error("the worker ends: %s", self._reason)
        limit = self._config.stop_timeout_seconds
        before = "" if self._reason is None else f" ({self._reason})"
        setting = f"CONTACTS_STOP_TIMEOUT_SECONDS ({limit:g}, and {HARD_END_SECONDS:g} more)"
        self._guard.allow(limit + HARD_END_SECONDS, setting, before)
        letting_go = asyncio.create_task(self._let_go(work))
        done, _ = await asyncio.wait([letting_go], timeout=limit)
        if not done:
            log.warning("not all partitions were released within %.0f s", limit)
        await self._health.stop()

    async def _let_go(self, work: asyncio.Task[None]) -> None:
        with contextlib.suppress(Exception):
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            if self._app is not None:
                await self._app.partitions.close()
            if self._app is not None and self._started:  # stopped in the middle of its start, Faust waits for ever
                await self._app.stop()
            await asyncio.gather(self._source.stop(), self._old_records.stop())
            await self._status.withdraw()
            await self._redis.aclose()

    # ---- what is there before the work -----------------------------------------------------------------------

    async def _wait_for_redis(self) -> None:
        """Return once Redis has answered. A worker that does not reach it, or that it does not let in, would take
        partitions from those that can count them.
        """
        back_off = BackOff(0.5, 5.0)
        while True:
            try:
                if self._config.commit is CommitMode.EMBEDDED:
                    await empty(self._redis, self._wiring.keys)
                await self._redis.time()
                return
            except (RedisError, OSError) as error:
                self._readiness.waits_for = why = f"{describe_redis(error)}; the worker joins its group after that"
                log.warning("%s; retrying in %.1f s", why, back_off.seconds)
            await asyncio.sleep(back_off.take())

    def _make(self, partition: int) -> OwnedPartition:
        assert self._app is not None, "the application gives partitions"
        return self._wiring.partition(partition, self._app.fetch_control)

    # ---- beside the work -------------------------------------------------------------------------------------

    async def _watch(self, app: Application) -> None:
        """Look at Faust and at each partition; write the group's offsets for monitors."""
        watchdog = Watchdog(self._config.stall_seconds, self._config.stuck_seconds)
        steady = asyncio.get_running_loop().time
        written = 0.0
        limit = self._config.stall_seconds
        while True:
            if not self._stop.is_set():  # else a stop has its own limit
                self._guard.allow(limit, f"CONTACTS_STALL_SECONDS ({limit:g})")
            if app.crashed:
                return self._end_with(WorkerMustStop(f"Faust crashed: {app.crash_reason!r}"))
            group_error = app.batches.group_error()
            if group_error is not None:
                return self._end_with(WorkerMustStop(f"the consumer group is left: {describe(group_error)}"))
            now = steady()
            begun = {owned.partition for owned in app.partitions if owned.phase is not Phase.ENDED}
            watchdog.keep(begun)
            watchdog.note_unbegun(app.batches.assigned_partitions() - begun, now)
            for owned in app.partitions:
                covered = owned.covered_offset
                if covered is not None:
                    self._reporter.covered(owned.partition, covered)
                watchdog.note(
                    owned.partition,
                    offset=covered,
                    lag=self._reporter.lag(owned.partition),
                    told=owned.told,
                    now=now,
                    excused=owned.phase is not Phase.COUNTING,  # it waits for Kafka or Redis, and says so
                )
            stalled = watchdog.stalled(now)
            if stalled is not None:
                return self._end_with(WorkerMustStop(stalled))
            if now - written >= MONITOR_SECONDS:
                written = now
                app.batches.commit_for_monitors(app.partitions.covered_offsets())
            before = steady()
            await asyncio.sleep(WATCH_SECONDS)
            self._metrics.loop_delay.observe(max(steady() - before - WATCH_SECONDS, 0.0))

    async def _limit_rows(self, app: Application) -> None:
        """The owner of the first partition sees to the rows of all."""
        config = self._config
        limits = RowLimits(
            self._redis,
            self._wiring.keys,
            Limits(config.row_days or None, config.row_limit, config.redis_memory_share),
            self._metrics.note_dropped_rows,
        )
        next_look = asyncio.get_running_loop().time() + ROW_LIMITS_SECONDS
        while True:
            await asyncio.sleep(ROW_LIMITS_SECONDS)
            # A full Redis keeps the owner in a resync, until rows make room.
            if any(one.partition == 0 and one.phase in (Phase.COUNTING, Phase.REPAIRING) for one in app.partitions):
                await keep_quietly(limits, self._clock.now_ms())
                if asyncio.get_running_loop().time() >= next_look:
                    next_look = asyncio.get_running_loop().time() + dropped_days.LOOK_SECONDS
                    await dropped_days.forget_quietly(self._redis, self._wiring.keys)

    def _note_topics(self, differences: tuple[str, ...]) -> None:
        """Which settings of the topics differ now, in words."""
        self._topics_differ = differences
        self._metrics.topic_differences.set(len(differences))

    def _status_as_json(self) -> dict[str, Any]:
        """What `contacts-report status` shows of this worker."""
        facts, tally = self._facts(), self._reporter.tally
        for partition, of in facts["partitions"].items():
            lasting = self._reporter.lasting(int(partition))
            of |= {"failure": None if lasting is None else lasting.text, **tally.partition(int(partition))}
        return {
            **facts,
            **tally.totals(),
            "version": VERSION,
            "started_ms": self._started_ms,
            "redis_policy": self._wiring.evictions.policy,
            "topics_differ": self._topics_differ,
        }

    def _facts(self) -> dict[str, Any]:
        partitions = self._reporter.partitions()
        app = self._app if self._started else None
        owned, given = (None, set()) if app is None else (app.partitions, app.batches.assigned_partitions())
        clocks = self._clocks.facts()
        waits_for = self._readiness.reason(owned, given, partitions) or clocks["waiting"]
        troubles = self._dependencies.troubles()
        if waits_for is not None:
            troubles.append(Trouble(Cause.PARTITION, waits_for))
        reasons = rank(troubles) if self._reason is None else [str(self._reason)]
        return {
            "live": not self._stop.is_set(),
            "ready": not reasons,
            "reason": reasons[0] if reasons else None,
            "worker": self._name,
            "clocks": clocks,
            "faults": self._dependencies.facts(),
            "partitions": partitions,
        }


async def until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends in any way; raises what that one raised, and leaves none behind."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.cancelled():
                raise RuntimeError(f"{task.get_coro()} was cancelled unexpectedly")
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1.0)
