"""A worker's store, broker and log, each of which fails at those points of a run that a test chooses."""

from __future__ import annotations

import itertools
from collections import deque
from contextlib import contextmanager, suppress

import gevent
import redis
from redis.client import Pipeline

from relay.queue import Publisher

BEFORE, AFTER = "before", "after"  # the server has run the command; then a failure means that its answer is lost
STORE, BROKER, LOG = "store", "broker", "log"
_SERVER_TIME = "redis.call('TIME')"
_STEPPED_TIME = "{ string.match(redis.call('GET', 'test:clock'), '^(%d+) (%d+)$') }"


class Nonsense(Exception):
    """Raised at a point to change the server's reply; ``of`` makes the other reply from the real one, or from None."""

    def __init__(self, of):
        self.of = of


class Faults:
    """Counts the points that a run passes, and raises errors at the armed ones."""

    def __init__(self):
        self.passed: list[tuple[str, str]] = []
        self.struck = 0
        self._first = self._last = -1
        self._errors = None
        self._moment = BEFORE
        self._slow = {}  # number of a point -> seconds by which the store's reply is late

    def delay(self, numbers, seconds):
        """Delay the replies of the store at these points, counted from now."""
        self.passed.clear()
        self._slow = dict.fromkeys(numbers, seconds)

    def arm(self, first, errors, moment=BEFORE, *, points=1):
        """Raise ``errors``, one after another, at this many ``points``, beginning with point number ``first``."""
        self.passed.clear()
        self.struck = 0
        self._first, self._last, self._moment = first, first + points, moment
        self._errors = itertools.cycle(errors)

    def disarm(self):
        self._first = self._last = -1
        self._slow = {}

    @property
    def going_on(self):
        """Whether the armed failures have begun and are not over."""
        return self.struck > 0 and len(self.passed) < self._last

    @contextmanager
    def around(self, kind, name):
        number = len(self.passed)
        self.passed.append((kind, name))
        if self._moment == BEFORE:
            self._strike(number)
        yield
        if kind == STORE:
            gevent.sleep(self._slow.get(number, 0.0))
        if self._moment == AFTER:
            self._strike(number)

    def _strike(self, number):
        if self._first <= number < self._last:
            self.struck += 1
            error = next(self._errors)
            raise error.with_traceback(None)


class _FaultyPipeline(Pipeline):
    def execute(self, raise_on_error=True):
        replies = [None] * len(self.command_stack)
        try:
            with FaultyRedis.faults.around(STORE, "pipeline"):
                replies = super().execute(raise_on_error)
        except Nonsense as nonsense:
            return [nonsense.of(reply) for reply in replies]
        return replies


class SteppedRedis(redis.Redis):
    """A client of a real server whose scripts read the time from a key that tests set."""

    def function_load(self, code, replace=False):
        assert code.count(_SERVER_TIME) == 1
        return super().function_load(code.replace(_SERVER_TIME, _STEPPED_TIME), replace)


class FaultyConnection(redis.UnixDomainSocketConnection):
    """A connection that can fail at the run of a script, for the process under test."""

    _script = None

    def send_command(self, *args, **options):
        if args[0] == "FCALL":
            self._script = args  # sent with the reading of the reply, as one point
        else:
            super().send_command(*args, **options)

    def read_response(self, *args, **options):
        script, self._script = self._script, None
        if script is None:
            return super().read_response(*args, **options)
        reply = None
        try:
            with FaultyRedis.faults.around(STORE, script[1].rsplit("_", 1)[0]):
                super().send_command(*script)
                reply = super().read_response(*args, **options)
        except Nonsense as nonsense:
            return nonsense.of(reply)
        return reply


class FaultyRedis(SteppedRedis):
    """A `SteppedRedis` that can fail at any other command, for the process under test."""

    faults: Faults

    def execute_command(self, *args, **options):
        reply = None
        try:
            with self.faults.around(STORE, args[0]):
                reply = super().execute_command(*args, **options)
        except Nonsense as nonsense:
            return nonsense.of(reply)
        return reply

    def pipeline(self, transaction=True, shard_hint=None):
        return _FaultyPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class FaultyLanes(Publisher):
    """A publisher whose broker is a list of messages, and can fail: then the message is dropped."""

    def __init__(self, faults):
        self._faults = faults
        self.published: deque[tuple[str, int]] = deque()

    def of(self, waiting):
        self._waiting = waiting
        return self

    def messages(self, lanes, _partition):
        return [(lane, b"") for lane in lanes]

    def announce(self, messages):
        for message in messages:
            with suppress(Exception), self._faults.around(BROKER, "publish"):
                self.published.append(message)

    def close(self):
        pass


class FaultyLog:
    """Stands in for the log's output, and can fail."""

    def __init__(self, faults):
        self._faults = faults

    def log(self, _level, name, **_fields):
        with self._faults.around(LOG, name):
            pass
