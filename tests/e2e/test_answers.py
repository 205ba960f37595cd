"""Whatever an endpoint does, Python client, plain HTTP and command get the documented result, without its address."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from relay.answer.results import failure_result
from relay.domain.invocation import Outcome, Sent
from tests.e2e.harness import NOWHERE, REFUSED_ADDRESS, Harness
from tests.receivers import (
    JPEG,
    answer,
    drips,
    gzip_bomb,
    gzipped,
    hangs_up,
    image,
    json_answer,
    never_answers,
    raw_answer,
    redirect,
    says,
)
from tests.timing import least, promptest_s

PLUGIN = "answers"
PATH = "/private-path-of-the-vendor"
HUGE = 2**100 + 1
WAIT_MS = 700  # the timeout for endpoints that do not answer
LATE_MS = 250  # how much later than its deadline an attempt may end
CALLERS = ("client", "http", "command")


@dataclass(frozen=True)
class Case:
    """What an endpoint does, and the expected result and record."""

    does: Any  # a script, or a function of the harness that returns a URL
    status: int = 200
    data: Any = None
    outcome: Outcome = Outcome.ANSWERED
    sent: str = "answered"
    method: str = "POST"
    more: dict[str, Any] = field(default_factory=dict)  # further members of the registration

    @property
    def answered(self) -> bool:
        return self.outcome is Outcome.ANSWERED

    def result(self) -> dict[str, Any]:
        if self.answered:
            return {"status": self.status, "data": self.data, "error": self.status >= 400}
        return {"status": 0, "data": failure_result(self.outcome, Sent(self.sent)).data, "error": True}


def failure(does: Any, outcome: Outcome, sent: str, **more: Any) -> Case:
    return Case(does, 0, None, outcome, sent, more=more)


JSON_TYPE = ("Content-Type", "application/json")
QUICK = {"timeout": WAIT_MS / 1000}
CASES = {
    "json": Case(json_answer({"ok": True, "n": HUGE, "list": [1.5, None]}), data={"ok": True, "n": HUGE, "list": [1.5, None]}),
    "json-without-a-type": Case(answer(200, b' {"ok": [1]}'), data={"ok": [1]}),
    "created": Case(json_answer({"id": "x"}, 201), 201, {"id": "x"}),
    "text": Case(answer(200, "caf\u00e9".encode(), ("Content-Type", "text/plain; charset=utf-8")), data="caf\u00e9"),
    "latin-text": Case(answer(200, b"caf\xe9", ("Content-Type", "text/plain; charset=iso-8859-1")), data="caf\u00e9"),
    "json-that-is-none": Case(answer(200, b"{oops", JSON_TYPE), data="{oops"),
    "image": Case(
        image,
        data={"encoding": "base64", "contentType": "image/jpeg", "content": base64.b64encode(JPEG).decode()},
    ),
    "empty": Case(answer(200, b""), data=None),
    "empty-json": Case(answer(200, b"", JSON_TYPE), data=None),
    "no-content": Case(says(b"HTTP/1.1 204 No Content\r\n\r\n", then_close=False), 204, None),
    "gzipped": Case(gzipped(b'{"packed":1}', JSON_TYPE), data={"packed": 1}),
    "read-by-get": Case(json_answer([1, 2]), data=[1, 2], method="GET"),
    "not-found": Case(json_answer({"said": "no"}, 404), 404, {"said": "no"}),
    "broken": Case(answer(500, b"sorry", ("Content-Type", "text/html")), 500, "sorry"),
    "redirect": Case(redirect("/elsewhere"), 302, "moved"),
    "redirect-to-metadata": Case(redirect("http://169.254.169.254/latest", 307), 307, "moved"),
    "tls": Case(lambda harness: harness.named.page(PATH, json_answer({"secure": True})), data={"secure": True}),
    "refused-connection": failure(lambda harness: harness.closed, Outcome.CONNECT_FAILED, "no"),
    "connection-that-hangs": failure(lambda harness: harness.full, Outcome.CONNECT_TIMEOUT, "no", **QUICK),
    "dns-failure": failure(lambda harness: NOWHERE, Outcome.DNS_FAILED, "no"),
    "tls-failure": failure(lambda harness: harness.stranger.url, Outcome.TLS_FAILED, "no"),
    "refused-address": failure(lambda harness: REFUSED_ADDRESS, Outcome.ADDRESS_REFUSED, "no"),
    "time-out": failure(never_answers, Outcome.ANSWER_TIMEOUT, "maybe", **QUICK),
    "slow-drip": failure(drips(0.1), Outcome.ANSWER_TIMEOUT, "maybe", **QUICK),
    "hang-up": failure(hangs_up(), Outcome.CONNECTION_LOST, "maybe"),
    "cut-answer": failure(says(raw_answer(200, b"half", length=400)), Outcome.CONNECTION_LOST, "maybe"),
    "oversized": failure(answer(200, b"x" * (1024 * 1024 + 1)), Outcome.ANSWER_REJECTED, "answered"),
    "gzip-bomb": failure(gzip_bomb(64 * 1024 * 1024), Outcome.ANSWER_REJECTED, "answered"),
    "endless-headers": failure(
        answer(200, b"", *((f"X-{number}", "x" * 1000) for number in range(400))), Outcome.ANSWER_REJECTED, "answered"
    ),
}  # fmt: skip


def endpoint_of(harness: Harness, name: str, case: Case) -> str:
    if case.does.__name__ == "<lambda>" and case.does.__module__ == __name__:
        return case.does(harness)
    return harness.site.page(f"{PATH}/{name}", case.does)


@pytest.fixture(scope="module")
def plugin(harness):
    webhooks = [
        {"id": name, "url": endpoint_of(harness, name, case), "method": case.method, **case.more}
        for name, case in CASES.items()
    ]
    jpeg = {"id": "send-jpeg", "url": harness.site.page("/jpeg", json_answer({"got": True}))}
    jpeg |= {"headers": {"Content-Type": "image/jpeg"}, "payload_encoding": "base64"}
    return harness.plugin(PLUGIN, [*webhooks, jpeg])


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("name", CASES)
def test_every_caller_gets_the_documented_result(harness, plugin, name, caller):
    case = CASES[name]
    data = None if case.method == "GET" else {"from": caller}
    answered = getattr(plugin, f"by_{caller}")(name, data, {}, {})
    assert list(answered) == ["referenceId", "status", "data", "error"]
    reference_id = answered.pop("referenceId")
    assert answered == case.result()

    record = plugin.record(reference_id)
    assert record["state"] == ("delivered" if case.answered else "unreachable")
    assert record["result"] == answered
    (attempt,) = record["attempts"]
    assert (attempt["outcome"], attempt["sent"], attempt["status"]) == (case.outcome, case.sent, case.status)

    shown = json.dumps([answered, record]).replace(reference_id, "")
    assert not [each for each in (PATH, "127.0.0.1", "vendor", str(harness.site.served.port)) if each in shown]


@pytest.mark.parametrize("name", ["time-out", "slow-drip", "connection-that-hangs"])
def test_an_attempt_ends_within_250_ms_of_its_deadline(plugin, name):
    def differs_by_ms():
        answered = plugin.by_client(name, {}, {}, {})
        (attempt,) = plugin.record(answered["referenceId"])["attempts"]
        return abs(attempt["durationMs"] - WAIT_MS)  # 0 ms if a busy machine began it when its time was over

    assert least(differs_by_ms, wanted=LATE_MS) <= LATE_MS


def test_a_caller_of_a_slow_drip_is_answered_within_250_ms_of_the_deadline(plugin):
    within_s = (WAIT_MS + LATE_MS) / 1000
    assert promptest_s(lambda: plugin.by_client("slow-drip", {}, {}, {}), within_s=within_s) <= within_s


def test_a_redirect_is_followed_by_nobody(harness, plugin):
    harness.site.page("/elsewhere", json_answer({"followed": True}))
    before = len(harness.site.served.requests)
    plugin.by_client("redirect", {}, {}, {})
    assert len(harness.site.served.requests) == before + 1
    assert not [each for each in harness.site.served.requests if each.target == "/elsewhere"]


@pytest.mark.parametrize("caller", ["client", "http", "cli"])
def test_a_base64_jpeg_arrives_byte_for_byte(harness, plugin, caller):
    picture = JPEG + random.Random(caller).randbytes(300_000) + b"\r\n\0\xff\xd9"
    answered = getattr(plugin, f"by_{caller}")("send-jpeg", base64.b64encode(picture).decode(), {}, {})
    assert (answered["status"], answered["data"]) == (200, {"got": True})
    (received,) = harness.site.received(answered["referenceId"])
    assert hashlib.sha256(received.body).hexdigest() == hashlib.sha256(picture).hexdigest()
    assert (received.method, received.header("Content-Type")) == ("POST", "image/jpeg")
    assert received.header("Content-Length") == str(len(picture))
