"""A process's parts are watched for progress, and looks are counted instead of seconds."""

import logging
import os
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import gevent
import pytest
from celery.exceptions import WorkerShutdown
from celery.signals import worker_shutting_down

from relay.errors import Unavailable
from relay.process.clock import boot_time_s
from relay.process.pulse import LOOK_S, STILL_LOOKS, STUCK_LOOKS, Part, Pulse
from relay.queue import URGENT
from relay.telemetry import log
from tests.timing import BUSY_S, stop_clock
from workers import bootsteps, heartbeat
from workers.heartbeat import STUCK, Heart


class Moving:
    """A part that makes progress until it is stopped."""

    def __init__(self):
        self.count = 0
        self.runs = True

    def moves(self):
        self.count += self.runs
        return self.count


def looked(pulse, times):
    for _ in range(times):
        pulse.look()
    return pulse


def test_parts_that_move_are_never_still():
    assert looked(Pulse([Part("a", Moving().moves)]), 500).still == []


@pytest.mark.parametrize(("looks", "still", "stuck"), [
    (STILL_LOOKS - 1, [], []), (STILL_LOOKS, ["a"], []), (STUCK_LOOKS - 1, ["a"], []), (STUCK_LOOKS, ["a"], ["a"]),
])  # fmt: skip
def test_a_part_that_does_not_move_is_still_and_in_the_end_stuck(looks, still, stuck):
    part, other = Moving(), Moving()
    pulse = looked(Pulse([Part("a", part.moves), Part("b", other.moves)]), 3)
    part.runs = False
    looked(pulse, looks)
    assert (pulse.still, pulse.stuck) == (still, stuck)
    part.runs = True
    assert looked(pulse, 1).still == []


def test_a_part_that_has_nothing_to_do_need_not_move():
    assert looked(Pulse([Part("a", lambda: None)]), STUCK_LOOKS + 1).still == []


def test_a_part_that_is_excused_is_neither_still_nor_stuck():
    pulse = looked(Pulse([Part("a", lambda: 1, excused=lambda: True)]), STUCK_LOOKS + 1)
    assert (pulse.still, pulse.stuck) == ([], [])


class Store:
    """Counts heartbeats; can be made unavailable."""

    def __init__(self):
        self.beats = 0
        self.away = False
        self.ahead_ms = 0
        self.jumps = []

    def beat(self, _name, _lanes):
        self.alive()
        self.beats += 1
        return int(boot_time_s() * 1000) + self.ahead_ms

    def note_jump(self, jump):
        self.jumps.append(jump)

    def alive(self):
        if self.away:
            raise Unavailable
        return []


def test_a_heart_beats_only_while_every_part_moves():
    part, store = Moving(), Store()
    heart = Heart(Pulse([Part("settler", part.moves)]), store, "w1", ["bulk"])
    for _ in range(5):
        assert heart.beat() == []
    part.runs = False
    stuck = [heart.beat() for _ in range(STUCK_LOOKS)]
    assert store.beats == 5 + STILL_LOOKS
    assert (stuck[-2], stuck[-1]) == ([], ["settler"])


@pytest.mark.parametrize("before", [1, STILL_LOOKS + 1])
def test_nothing_is_held_against_the_parts_while_the_store_is_away(before):
    store = Store()
    heart = Heart(Pulse([Part("calls", lambda: 1)]), store, "w1", ["bulk"])
    assert [heart.beat() for _ in range(before)] == [[]] * before
    store.away = True
    assert [heart.beat() for _ in range(2 * STUCK_LOOKS)] == [[]] * 2 * STUCK_LOOKS
    store.away = False
    assert heart.beat() == []
    assert heart.looks == before + 2 * STUCK_LOOKS + 1  # or the thread that watches it would end the process


def test_a_heart_notes_and_logs_a_server_whose_clock_does_not_go_on_as_it_did(monkeypatch, events_of):
    move_on, store, said = stop_clock(monkeypatch), Store(), events_of(log)
    heart = Heart(Pulse([]), store, "w1", ["bulk"])
    for ahead_ms in (0, 0, 60_000, 60_000, -5_000):
        store.ahead_ms = ahead_ms
        heart.beat()
        move_on(1.0)
    assert [round(jump.by_ms, -2) for jump in store.jumps] == [60_000, -65_000]
    assert [(name, fields["by_ms"]) for name, fields in said] == [
        (log.Event.CLOCK_JUMPED, jump.by_ms) for jump in store.jumps
    ]


@pytest.mark.parametrize("stuck", [[], ["settler"]])
def test_a_worker_with_a_part_that_is_stuck_says_which_and_ends(monkeypatch, events_of, stuck):
    said, exits, slept = events_of(log), [], []
    monkeypatch.setattr(heartbeat.os, "_exit", exits.append)
    monkeypatch.setattr(heartbeat.gevent, "sleep", slept.append)
    heartbeat.Beating._iterate(SimpleNamespace(beat=lambda: stuck))
    assert slept == [LOOK_S]
    assert exits == [STUCK] * bool(stuck)
    assert said == [(log.Event.STUCK, {"level": logging.ERROR, "parts": stuck})] * bool(stuck)


class Watched:
    """What the thread that watches a heart sees: a heart that looks, or not, in each second; the greenlet ends last."""

    def __init__(self, monkeypatch, looks):
        self.heart, self.ended_after = SimpleNamespace(looks=0), None
        self._looks = iter(looks)
        self._seconds = 0
        self._beating = heartbeat.Beating(None)
        self._beating._greenlets = [True]
        monkeypatch.setattr(heartbeat, "_sleep", self._second)
        monkeypatch.setattr(heartbeat.os, "_exit", self._exit)

    def run(self):
        self._beating._watch(self.heart)
        return self.ended_after

    def _second(self, _s):
        looks = next(self._looks, None)
        if looks is None:
            self._beating._greenlets = []
            return
        self._seconds += 1
        self.heart.looks += looks

    def _exit(self, status):
        assert status == STUCK
        self.ended_after = self.ended_after or self._seconds


@pytest.mark.parametrize("between", [0, 1, STUCK_LOOKS - 2, STUCK_LOOKS - 1, STUCK_LOOKS])
def test_a_process_whose_heart_stands_still_ends_and_one_whose_heart_only_stumbles_does_not(monkeypatch, between):
    ended = Watched(monkeypatch, [1, *([*[0] * between, 1] * 5)]).run()
    assert (ended is not None) == (between >= STUCK_LOOKS)


def test_a_heart_that_stands_still_ends_its_process_after_a_minute(monkeypatch):
    assert Watched(monkeypatch, [1] * 500 + [0] * 200).run() == 500 + STUCK_LOOKS


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize("is_away", [False, True])
def test_a_consumer_that_waits_for_a_slot_or_for_its_broker_is_not_stuck(monkeypatch, is_full, is_away):
    clock, watched = stop_clock(monkeypatch), []
    monkeypatch.setattr(heartbeat, "Pulse", watched.extend)
    begun = []
    monkeypatch.setattr(heartbeat, "ThreadPool", lambda _: SimpleNamespace(spawn=lambda *work: begun.append(work)))
    monkeypatch.setattr(heartbeat.Looping, "start", lambda _self, worker: begun.append(worker))
    executor = SimpleNamespace(parts=lambda: (Part("settler", Moving().moves),), is_full=is_full)
    runtime = SimpleNamespace(publisher=None, workers=None)
    parts = SimpleNamespace(executor=executor, runtime=runtime, sweeper=SimpleNamespace(moves=7))
    called = []
    app = SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from={"bulk": None})))
    worker = SimpleNamespace(parts=parts, app=app, hostname="one", consumer=SimpleNamespace(call_soon=called.append))
    beating = heartbeat.Beating(None)
    beating.start(worker)
    assert begun == [worker, (beating._watch, beating._heart)]
    assert [name for name, _ in beating.loops(worker)] == ["broker", "heartbeat"]
    clock(heartbeat.AWAY_S + 1 if is_away else 0)
    by_name = {part.name: part for part in watched}
    assert list(by_name) == ["settler", "sweeper", "consumer"]
    consumer = by_name["consumer"]
    assert consumer.moves() == (None if is_full else 0)
    for answer in called:
        answer()
    assert consumer.moves() == (None if is_full else 1)
    assert (consumer.excused(), by_name["sweeper"].moves(), len(called)) == (is_away, 7, 0 if is_full else 2)


def test_a_broker_counts_as_away_once_it_has_not_answered_for_a_while_and_no_longer_when_it_answers(monkeypatch):
    move_on, answers, slept = stop_clock(monkeypatch), [], []
    monkeypatch.setattr(heartbeat.gevent, "sleep", slept.append)
    broker = heartbeat.BrokerWatch(SimpleNamespace(depths=lambda lanes: dict.fromkeys(lanes, 0) if answers else {}))
    found = [broker.is_away]
    for after_s, answers[:] in ((heartbeat.AWAY_S, []), (0.5, []), (0.0, ["yes"]), (heartbeat.AWAY_S, [])):
        move_on(after_s)
        broker.iterate()
        found.append(broker.is_away)
    assert found == [False, False, True, False, False]
    assert slept == [LOOK_S] * 4


def test_a_consumer_gets_one_callback_at_a_time_and_moves_when_it_has_called_it():
    called, worker = [], SimpleNamespace()
    consumer = heartbeat.Consumer(worker)
    assert consumer.moves() == 0  # there is none yet
    worker.consumer = SimpleNamespace(call_soon=called.append)
    for rounds in range(3):
        assert [consumer.moves() for _ in range(5)] == [rounds] * 5
        (answer,) = called
        called.clear()
        answer()
    assert consumer.moves() == 3


# -- a stop -------------------------------------------------------------------------------------------------------------


def worker_with(drain, report, flush, exitcode=None):
    executor = SimpleNamespace(drain=drain)
    parts = SimpleNamespace(
        executor=executor, reporter=SimpleNamespace(report=report), spans=SimpleNamespace(flush=flush)
    )
    return SimpleNamespace(app=None, parts=parts, hostname="one@here", exitcode=exitcode)


@pytest.fixture
def stopping(monkeypatch):
    """Return a function that makes the executor's boot step for a worker; its timers are in ``stopping.later``."""

    def step_of(worker):
        step = bootsteps.Executing.__new__(bootsteps.Executing)
        step._settings, step._worker, step._end = SimpleNamespace(stop_timeout_s=30.0), worker, None
        return step

    step_of.later = []
    monkeypatch.setattr(bootsteps.gevent, "spawn_later", lambda *args: step_of.later.append(args))
    return step_of


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_stop_drains_once_and_tells_what_was_gathered(stopping, has_ended):
    done = []
    worker = worker_with(done.append, lambda _: done.append("report"), lambda: done.append("flush"), exitcode=3)
    step = stopping(worker)
    drain = step._begin_to_end()
    if has_ended:
        drain.join()
    step.stop(worker)
    assert done == [30.0, "report", "flush"]
    assert stopping.later == [(bootsteps.GOODBYE_S, os._exit, 3)]


@pytest.mark.parametrize(
    "report", [lambda _send: 1 / 0, lambda _send: gevent.sleep(100 * BUSY_S)], ids=["fails", "hangs"]
)
def test_a_last_report_that_comes_to_nothing_keeps_no_worker_from_ending(monkeypatch, stopping, report):
    monkeypatch.setattr(bootsteps, "LAST_REPORT_S", 0.01)
    worker = worker_with(lambda _: None, report, pytest.fail)
    stopping(worker).stop(worker)
    assert stopping.later == [(bootsteps.GOODBYE_S, os._exit, 0)]


def test_a_drain_that_fails_keeps_no_worker_from_ending(monkeypatch, stopping):
    monkeypatch.setattr(gevent.get_hub(), "handle_error", lambda *_: None)
    worker = worker_with(lambda _: 1 / 0, pytest.fail, pytest.fail)
    stopping(worker).stop(worker)
    assert stopping.later == [(bootsteps.GOODBYE_S, os._exit, 0)]


def test_the_loops_of_a_worker_run_beside_one_another_until_it_stops():
    class Two(bootsteps.Looping):
        def loops(self, worker):
            yield from ((name, partial(worker.hang, name)) for name in ("one", "other"))

    begun = []
    step = Two(None)
    step.start(SimpleNamespace(hang=lambda name: begun.append(name) or gevent.sleep(100 * BUSY_S)))
    gevent.sleep(0)
    assert (begun, [bool(each) for each in step._greenlets]) == (["one", "other"], [True, True])
    step.stop(None)
    assert [bool(each) for each in step._greenlets] == [False, False]


def test_a_worker_ends_soon_after_it_was_told_to_stop_and_when_it_is_told_again_at_once(monkeypatch):
    later, exits, ended = [], [], []
    monkeypatch.setattr(bootsteps.gevent, "spawn_later", lambda *args: later.append(args))
    monkeypatch.setattr(bootsteps.LANE_WAITS, "end", lambda: ended.append(1))
    monkeypatch.setattr(bootsteps.os, "_exit", exits.append)
    monkeypatch.setattr(bootsteps.Settings, "from_environ", lambda: SimpleNamespace(stop_timeout_s=30.0))
    worker = SimpleNamespace(exitcode=None)
    step = bootsteps.Executing(worker)
    try:
        assert worker.parts is None
        step._pause(0)
        worker_shutting_down.send(sender="one@here", sig="TERM", how="Warm", exitcode=0)
        with pytest.raises(WorkerShutdown) as stopped:  # a worker that still waits for the store ends as it was told to
            step._pause(0)
        assert stopped.value.code == 0
        step._end.join()
        assert (exits, ended) == ([], [1])
        assert later == [(bootsteps.GOODBYE_S, os._exit, 0)]
        worker_shutting_down.send(sender="one@here", sig="TERM", how="Warm", exitcode=0)
        assert exits == [bootsteps.HARD_STOP]
    finally:
        worker_shutting_down.disconnect(step._on_signal)


def test_a_worker_that_was_told_to_stop_while_it_made_its_parts_starts_nothing(monkeypatch, stopping):
    parts = SimpleNamespace(executor=None, runtime=SimpleNamespace(functions=SimpleNamespace(check=lambda: None)))
    monkeypatch.setattr(bootsteps, "worker_parts", lambda *_, **__: parts)
    queues = SimpleNamespace(consume_from=[URGENT])
    worker = SimpleNamespace(app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)), hostname="one@here")
    step = stopping(worker)
    step._told_to_stop = 1
    with pytest.raises(WorkerShutdown):
        step.start(worker)


@pytest.mark.parametrize("tells_alerts", [False, True])
@pytest.mark.parametrize("partitions", [1, 3])
def test_a_worker_keeps_up_each_chain_and_trail_of_each_partition(tells_alerts, partitions):
    each = [SimpleNamespace(iterate=None, look=None)] * partitions
    executor = SimpleNamespace(scheduler=SimpleNamespace(wake=None))
    parts = SimpleNamespace(
        executor=executor,
        alerting=each[0] if tells_alerts else None,
        reporter=None,
        checkpointing=each,
        watching=each,
        runtime=SimpleNamespace(heads=None),
    )
    worker = SimpleNamespace(parts=parts, app=None, hostname="one@here")
    names = [name for name, _ in bootsteps.Upkeep(None).loops(worker)]
    assert names == [
        *("wake", "sweep", *["alerts"] * tells_alerts, "report"),
        *(["audit"] * partitions + ["chains"] * partitions),
        "heads",
    ]


def test_each_part_of_the_upkeep_pauses_as_long_as_it_is_to(monkeypatch):
    done, slept = [], []
    monkeypatch.setattr(bootsteps.gevent, "sleep", slept.append)

    def does(name):
        return lambda *_: done.append(name)

    parts = SimpleNamespace(
        executor=SimpleNamespace(scheduler=SimpleNamespace(wake=does("wake")), look=does("look")),
        sweeper=SimpleNamespace(sweep=does("sweep")),
        alerting=SimpleNamespace(look=does("alerts")),
        reporter=SimpleNamespace(report=does("report")),
        checkpointing=[SimpleNamespace(iterate=does("audit"))],
        watching=[SimpleNamespace(look=does("chains"))],
        runtime=SimpleNamespace(heads=None),
    )
    for name, iterate in bootsteps.Upkeep(None).loops(SimpleNamespace(parts=parts, app=None, hostname="one@here")):
        if name != "heads":
            iterate()
    assert done == ["wake", "sweep", "look", "alerts", "report", "audit", "chains"]
    assert slept == [
        *(bootsteps.WAKE_S, bootsteps.PERIOD_S, bootsteps.PERIOD_S),
        *(bootsteps.REPORT_S, bootsteps.SIGNING_S, bootsteps.WATCHING_S),
    ]


def test_a_report_that_fails_ends_no_loop(monkeypatch, events_of):
    said, told = events_of(log), []
    monkeypatch.setattr(bootsteps.gevent, "sleep", lambda _: None)
    reporter = SimpleNamespace(report=lambda show: told.append(show) or 1 / 0)
    bootsteps._report(reporter, "show")
    assert (told, len(said)) == (["show"], 1)


@pytest.mark.parametrize(("told", "ends"), [(0, False), (1, True), (2, True)])
def test_a_worker_that_waits_for_its_store_ends_when_it_is_told_to_stop(monkeypatch, told, ends):
    slept = []
    monkeypatch.setattr(bootsteps.gevent, "sleep", slept.append)
    step = bootsteps.Executing.__new__(bootsteps.Executing)
    step._told_to_stop = told
    with pytest.raises(WorkerShutdown) if ends else nullcontext():
        step._pause(0.5)
    assert slept == [0.5]


def test_a_greenlet_that_fails_is_logged_and_what_is_no_fault_is_left_to_gevent(monkeypatch):
    logged, left = [], []
    monkeypatch.setattr(bootsteps.log, "fault", lambda error, where: logged.append((error, where)))
    monkeypatch.setattr(bootsteps.Hub, "handle_error", lambda _hub, *about: left.append(about))
    error, ending = ValueError("private"), SystemExit(1)
    bootsteps._note_failed_greenlet("greenlet", ValueError, error, None)
    bootsteps._note_failed_greenlet("greenlet", SystemExit, ending, None)
    assert (logged, left) == ([(error, "greenlet")], [("greenlet", SystemExit, ending, None)])


def test_a_worker_has_its_parts_once_the_store_has_the_functions(monkeypatch):
    done, hub = [], SimpleNamespace()
    monkeypatch.setattr(bootsteps.garbage, "set_for_serving", lambda: done.append("garbage"))
    monkeypatch.setattr(bootsteps.gevent, "get_hub", lambda: hub)
    functions = SimpleNamespace(check=lambda: done.append("functions"))
    parts = SimpleNamespace(executor=SimpleNamespace(), runtime=SimpleNamespace(functions=functions))
    monkeypatch.setattr(bootsteps, "worker_parts", lambda *_, lanes: parts)
    step = bootsteps.Executing.__new__(bootsteps.Executing)
    step._settings, step._told_to_stop = None, 0
    app = SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from={"bulk": None})))
    worker = SimpleNamespace(app=app, hostname="one@here")
    step.start(worker)
    assert (done, app.executor, worker.parts) == (["functions", "garbage"], parts.executor, parts)
    assert hub.handle_error is bootsteps._note_failed_greenlet
