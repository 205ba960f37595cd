"""Flower beside a neighbour who forges events, and pages that would frame it."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from hashlib import sha256
from uuid import uuid4

import pytest
import redis
import requests

from tests.integration.test_flower import AUTH, running_flower
from tests.timing import ANSWER_S, wait_until

from .worker_harness import worker_harness

ODD = (
    None,
    True,
    -1,
    2**70,
    1e300,
    1e18,
    float("nan"),
    "",
    "x" * 5_000,
    "<script>",
    "\x00\u202e",
    [],
    [{}],
    {},
    {"a": 1},
)
TYPES = (
    *("worker-online", "worker-heartbeat", "worker-offline", "task-succeeded", "task-failed", "task-retried"),
    *(
        "task-received",
        "task-started",
        "task-revoked",
        "task-rejected",
        "task-sent",
        "task-x",
        "worker-x",
        "x",
        "task-multi",
    ),
)
PAGES = (
    "/",
    "/workers",
    "/workers?json=1",
    "/tasks",
    "/api/tasks",
    "/api/workers",
    "/broker",
    "/metrics",
    "/healthcheck",
)


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    with worker_harness(tmp_path_factory) as harness:
        harness.start_worker("bulk")
        with running_flower(harness) as shown:
            wait_until(shown.hears_workers)
            harness.flower = shown
            yield harness


def publish(harness, body):
    raw = {
        "body": b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"hostname": "bulk9@here"},
        "properties": {
            "delivery_mode": 1,
            "delivery_info": {"exchange": "celeryev", "routing_key": "task.multi"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }
    with redis.Redis.from_url(harness.environ["RELAY_REDIS_URL"], socket_timeout=ANSWER_S) as client:
        client.publish("/0.celeryev/task.multi", json.dumps(raw))


def event(kind, **changes):
    worker = {"freq": 2.0, "active": 0, "processed": 3, "loadavg": [0.1, 0.2, 0.3], "sw_ident": "py-celery"}
    task = {"uuid": str(uuid4()), "name": "acme/hook", "args": "()", "kwargs": "{}", "result": "200 answered"}
    task |= {"runtime": 0.2, "retries": 0, "received": time.time(), "started": time.time(), "routing_key": "bulk"}
    always = {"type": kind, "hostname": "bulk9@here", "timestamp": time.time(), "utcoffset": 0, "pid": 7, "clock": 9}
    return always | (worker if kind.startswith("worker") else task) | changes


def forged():
    for kind in TYPES:
        whole = event(kind)
        yield whole
        for name in whole:
            yield {key: value for key, value in whole.items() if key != name}
            yield from (event(kind, **{name: odd}) for odd in ODD)
        yield event(kind, __class__="x", local_received="x", cursor="x", self=1)
    yield from ODD


def test_no_event_breaks_a_page(harness):
    for body in forged():
        publish(harness, body)
        publish(harness, [body, body])
    good = event("task-succeeded", uuid=str(uuid4()), name="acme/good")
    publish(harness, [good])
    wait_until(lambda: good["uuid"] in harness.flower.tasks(), 40, every_s=0.5)
    workers = [each["hostname"] for each in harness.flower.get("/workers", json=1).json()["data"]]
    for path in (*PAGES, *[f"/worker/{name}" for name in workers if name.startswith("bulk1@")]):
        harness.flower.get(path)
    for uuid in list(harness.flower.tasks())[:40]:
        harness.flower.get(f"/task/{uuid}")
    for column in ("name", "state", "received", "started", "runtime", "worker", "retries"):
        harness.flower.get(
            "/tasks/datatable",
            draw=1,
            start=0,
            length=100,
            **{
                "search[value]": "",
                "order[0][column]": 0,
                "order[0][dir]": "asc",
                "columns[0][data]": column,
            },
        )
    assert harness.flower.hears_workers()


@pytest.mark.parametrize("path", [*PAGES, "/static/js/flower.js", "/nowhere", "/task/nothing"])
@pytest.mark.parametrize("auth", [AUTH, None])
def test_every_page_says_that_nobody_may_frame_it_or_add_code(harness, path, auth):
    headers = requests.get(harness.flower.url + path, auth=auth, timeout=20).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy.split("script-src")[1].split(";")[0]
    assert (headers["X-Frame-Options"], headers["X-Content-Type-Options"]) == ("DENY", "nosniff")
    for name in ("Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Referrer-Policy"):
        assert headers[name] == "same-origin"
    assert "camera=()" in headers["Permissions-Policy"]


def test_the_pages_own_scripts_may_run(harness):
    found = []
    for path in ("/", "/tasks", "/broker"):
        page = harness.flower.get(path)
        policy = page.headers["Content-Security-Policy"].split("script-src")[1].split(";")[0]
        scripts = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", page.text, re.DOTALL)
        found += scripts
        for script in scripts:
            assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy
    assert found


@pytest.mark.parametrize("path", ["/api/worker/shutdown/bulk1@here", "/api/worker/pool/shrink/bulk1@here"])
def test_no_request_changes_a_worker(harness, path):
    answer = requests.post(harness.flower.url + path, auth=AUTH, timeout=20)
    assert answer.status_code in {401, 403}
