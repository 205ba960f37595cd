"""Callers: threads that trigger through the API, in bulk and one by one, and record what they were told."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests

from tests.chaos.history import History, Operation
from tests.chaos.models import end_of
from tests.chaos.plan import AWAIT_S

if TYPE_CHECKING:
    from tests.chaos.plan import Plan

THREADS = 6
BULK = 60  # the most items in a bulk request
PATIENCE_S = 20.0  # an answer takes at most this long, or the connection failed
BACK_OFF_S = (0.05, 0.4)
#: How many of a caller's thousand steps are single triggers, awaited and not awaited; the others are bulk requests.
AWAITED, ALONE = 350, 250
EXPECTED = {200, 202, 429, 503}
KEYED = 0.3  # the share of single triggers with an Idempotency-Key, which are repeated until answered
LOST = 0.1  # the share of answers to these that get lost on their way


@dataclass(frozen=True)
class AcceptedTrigger:
    """What the API answered to a trigger that it accepted."""

    reference_id: str
    hook: str
    at_ms: int
    plugin: str = ""
    key: str | None = None
    result: tuple[int, bool] | None = None  # status and error, if the caller waited for them


@dataclass
class Callers:
    """Sends all triggers of a plan, whatever happens to the API."""

    url: str
    keys: dict[str, str]  # by plugin
    plan: Plan
    told: list[AcceptedTrigger] = field(default_factory=list)
    slowest_answer_s: float = 0.0
    hung: int = 0  # how many requests got no answer within PATIENCE_S
    refused: list[str] = field(default_factory=list)  # unexpected answers
    answers: Counter[str] = field(default_factory=Counter)
    history: History = field(default_factory=History)
    repeated: int = 0  # how many triggers were sent again under their keys

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._left = _counts(self.plan)
        self._taken = 0
        self._started_s = time.monotonic()
        self._random = random.Random(self.plan.seed + 1)
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(THREADS)]

    @property
    def accepted(self) -> int:
        return len(self.told)

    def start(self) -> None:
        self._started_s = time.monotonic()
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def running(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _run(self, number: int) -> None:
        chance = random.Random((self.plan.seed << 8) + number)
        with requests.Session() as session:
            while True:
                plugin = chance.choice(self.plan.plugins)
                session.headers["Authorization"] = f"Bearer {self.keys[plugin]}"
                step = chance.random() * 1000
                hooks = self._take(1 if step < AWAITED + ALONE else chance.randint(2, BULK))
                if not hooks:
                    return
                if len(hooks) > 1:
                    self._bulk(session, hooks, chance, plugin)
                else:
                    self._single(session, hooks[0], chance, plugin, awaited=step < AWAITED)

    def _take(self, count: int) -> list[str]:
        due_s = self.plan.seconds * self._taken / self.plan.invocations - (time.monotonic() - self._started_s)
        time.sleep(max(0.0, due_s))
        with self._lock:
            taken = []
            for _ in range(count):
                left = [hook for hook, number in self._left.items() if number]
                if not left:
                    break
                hook = self._random.choices(left, [self._left[name] for name in left])[0]
                self._left[hook] -= 1
                taken.append(hook)
            self._taken += len(taken)
            return taken

    def _bulk(self, session: requests.Session, hooks: list[str], chance: random.Random, plugin: str) -> None:
        while hooks:
            began_s = time.time()
            items = [{"webhookId": hook, "data": {"n": index}} for index, hook in enumerate(hooks)]
            answer = self._send(session, "/v1/triggers", items, {})
            if answer is None or answer.status_code != 202:
                time.sleep(chance.uniform(*BACK_OFF_S))
                continue
            results = answer.json()["results"]
            told = [
                AcceptedTrigger(each["referenceId"], hook, _now_ms(), plugin)
                for hook, each in zip(hooks, results, strict=True)
                if "referenceId" in each
            ]
            self._note(told, began_s)
            hooks = [hook for hook, each in zip(hooks, results, strict=True) if "referenceId" not in each]

    def _single(
        self, session: requests.Session, hook: str, chance: random.Random, plugin: str, *, awaited: bool
    ) -> None:
        key = f"key-{chance.getrandbits(64)}" if chance.random() < KEYED else None
        headers = {"Prefer": f"wait={AWAIT_S}" if awaited else "respond-async"}
        if key:
            headers["Idempotency-Key"] = key
        began_s = time.time()
        while True:
            began_s = began_s if key else time.time()  # without a key each try is another call
            answer = self._send(session, f"/v1/webhooks/{hook}/trigger", {"data": {"who": "me"}}, headers)
            is_lost = key is not None and chance.random() < LOST
            if answer is not None and answer.status_code in {200, 202} and not is_lost:
                break
            self.repeated += key is not None
            time.sleep(chance.uniform(*BACK_OFF_S))
        body = answer.json()
        result = (body["status"], body["error"]) if answer.status_code == 200 else None
        self._note([AcceptedTrigger(body["referenceId"], hook, _now_ms(), plugin, key, result)], began_s)

    def _send(self, session, path, value, headers) -> requests.Response | None:
        started_s = time.monotonic()
        try:
            answer = session.post(self.url + path, json=value, headers=headers, timeout=PATIENCE_S)
        except requests.Timeout:
            self.hung += 1
            return None
        except requests.RequestException:
            self.answers["none"] += 1
            return None
        self.slowest_answer_s = max(self.slowest_answer_s, time.monotonic() - started_s)
        self.answers[str(answer.status_code)] += 1
        if answer.status_code not in EXPECTED:
            self.refused.append(f"{answer.status_code} {answer.text}")
        return answer

    def _note(self, told: list[AcceptedTrigger], began_s: float) -> None:
        now_s = time.time()
        for each in told:
            self.history.add("call", each.reference_id, Operation("accept", "accepted", began_s, now_s))
            if each.result is not None:
                end = end_of("final", each.result)
                self.history.add("call", each.reference_id, Operation("await", end, began_s, now_s))
        with self._lock:
            self.told.extend(told)


def _counts(plan: Plan) -> dict[str, int]:
    """Return how many triggers each webhook gets; those beyond a webhook's ``most`` go to the first webhook."""
    counts = {hook.id: plan.invocations * hook.share // 1000 for hook in plan.hooks}
    for hook in plan.hooks:
        if hook.most is not None:
            counts[hook.id] = min(counts[hook.id], hook.most)
    counts[plan.hooks[0].id] += plan.invocations - sum(counts.values())
    return counts


def _now_ms() -> int:
    return int(time.time() * 1000)
