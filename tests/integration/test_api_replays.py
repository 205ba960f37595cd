from unittest.mock import ANY

import pytest

from relay.domain.invocation import State
from relay.replay.running import Replaying
from tests.integration.test_api_listing import accepted, listed, refs
from tests.integration.test_api_triggers import problem

UNKNOWN = "01890000-0000-7000-8000-000000000000"
JOB = [
    "replayId", "state", "matched", "started", "delivered", "failed", "skipped", "ratePerSecond",
    "createdAt", "finishedAt", "skippedReasons", "caller", "filter",
]  # fmt: skip


def start(api, key=None, **body):
    return api.call("POST", "/v1/replays", key=key or api.operator_key, json=body)


def look(api, replay_id="", key=None):
    return api.call("GET", f"/v1/replays{replay_id and '/'}{replay_id}", key=key or api.operator_key)


def steer(api, replay_id, action, key=None):
    return api.call("POST", f"/v1/replays/{replay_id}/{action}", key=key or api.operator_key)


def run(api, replay_id):
    """Make the invocations of a job, as a worker would."""
    runtime = api.runtime
    vault = runtime.data_vault
    Replaying(runtime.replay_runs, runtime.replay_store, runtime.registry, vault, lambda _: None).run(replay_id)


@pytest.fixture
def failed(fresh_api):
    """Three invocations that failed with 503 and one that did not, of a repeatable webhook."""
    made = [accepted(fresh_api, "read") for _ in range(4)]
    fresh_api.settle(made[:3], status=503)
    fresh_api.settle(made[3:])
    return fresh_api, made


def test_a_dry_run_says_what_would_be_done_and_starts_nothing(failed):
    api, _ = failed
    answer = start(api, filter={"webhookId": "read"}, dryRun=True)
    assert answer.status_code == 200
    plan = answer.json()
    assert (plan["matched"], plan["skipped"]) == (3, 0)
    (group,) = plan["breakdown"]
    assert (group["webhookId"], group["outcome"], group["status"], group["count"]) == ("read", "answered", 503, 3)
    assert look(api).json() == {"replays": []}


def test_a_plan_is_started_for_the_calls_that_it_counted_and_none_that_failed_since(failed):
    api, made = failed
    plan = start(api, filter={"webhookId": "read", "since": "1h"}, ratePerSecond=5, max=7, dryRun=True).json()
    later = accepted(api, "read")
    api.settle([later], status=503)
    assert start(api, filter={"webhookId": "read"}, dryRun=True).json()["matched"] == 4
    job = start(api, planId=plan["planId"])
    assert (job.status_code, job.json()["matched"]) == (202, 3)
    shown = look(api, job.json()["replayId"]).json()
    assert (shown["ratePerSecond"], shown["caller"]) == (5, api.operator_key.split("_")[1])
    run(api, shown["replayId"])
    assert look(api, shown["replayId"]).json()["started"] == 3
    replayed = [each["replayOf"] for each in listed(api, replay=shown["replayId"]).json()["invocations"]]
    assert sorted(replayed) == sorted(made[:3])
    faster = start(api, planId=plan["planId"], ratePerSecond=50).json()["replayId"]
    assert look(api, faster).json()["ratePerSecond"] == 50


def test_a_plan_of_ids_has_no_id_and_another_plugin_s_plan_is_none(failed):
    api, made = failed
    assert start(api, referenceIds=made[:1], dryRun=True).json()["planId"] is None
    plan = start(api, filter={}, dryRun=True).json()
    document = problem(start(api, planId=plan["planId"], key=api.foreign_key), 422, "request_rejected")
    assert document["errors"] == [{"pointer": "/planId", "message": ANY}]
    assert "plan the replay again" in document["errors"][0]["message"]


def test_a_damaged_plan_is_a_conflict(failed):
    api, _ = failed
    plan = start(api, filter={}, dryRun=True).json()["planId"]
    api.runtime.replay_store.save_plan("acme", plan, b"{", keep_s=60)
    assert "plan the replay again" in problem(start(api, planId=plan), 409, "conflict")["detail"]
    assert look(api).json() == {"replays": []}


def test_a_run_that_is_said_not_to_be_dry_starts_a_job(failed):
    api, _ = failed
    assert start(api, filter={"webhookId": "read"}, dryRun=False).status_code == 202
    assert len(look(api).json()["replays"]) == 1


def test_what_a_replay_has_made_good_no_longer_counts_as_failed_anywhere(failed):
    api, made = failed
    assert sorted(refs(listed(api, failed="true"))) == sorted(made[:3])
    replay_id = start(api, filter={"webhookId": "read"}).json()["replayId"]
    run(api, replay_id)
    api.settle([each["referenceId"] for each in listed(api, state="queued").json()["invocations"]])
    assert refs(listed(api, failed="true")) == []
    assert sorted(refs(listed(api, failed="true", unreplayed="false"))) == sorted(made[:3])
    assert api.call("GET", "/v1/groups", key=api.operator_key).json()["groups"] == []
    plan = start(api, filter={"webhookId": "read"}, dryRun=True).json()
    assert (plan["matched"], plan["leftOut"]) == (0, {"replayed": 3})


def test_a_replay_is_started_and_looked_at(failed):
    api, _ = failed
    answer = start(api, filter={"webhookId": "read", "status": ["5xx"]}, ratePerSecond=100)
    assert answer.status_code == 202
    assert list(answer.json()) == ["replayId", "state", "matched"]
    assert answer.json()["matched"] == 3
    replay_id = answer.json()["replayId"]
    assert answer.headers["Location"] == f"/v1/replays/{replay_id}"
    job = look(api, replay_id).json()
    assert list(job) == JOB
    assert (job["replayId"], job["matched"], job["ratePerSecond"], job["finishedAt"]) == (replay_id, 3, 100, None)
    (listed_job,) = look(api).json()["replays"]
    assert list(listed_job) == JOB
    stands = ("state", "started", "delivered", "failed", "skipped")  # the other fields may have changed meanwhile
    assert {name: listed_job[name] for name in JOB if name not in stands} == {
        name: job[name] for name in JOB if name not in stands
    }


def test_replays_are_listed_newest_first_as_many_as_are_asked_for_with_who_made_them(failed):
    api, made = failed
    key, row = api.runtime.api_keys.create("acme", ["operate"])
    filters = [{"webhookId": "read"}, {"webhookId": "read", "status": [503, "5xx"]}, {}]
    ids = [start(api, filter=each, key=key).json()["replayId"] for each in filters]
    ids.append(start(api, referenceIds=made[:1], key=key).json()["replayId"])

    def listed_jobs(**query):
        answer = api.call("GET", "/v1/replays", key=api.operator_key, params=query)
        return answer.json()["replays"]

    jobs = listed_jobs()
    assert [job["replayId"] for job in jobs] == ids[::-1]
    assert {job["caller"] for job in jobs} == {row.id}
    assert jobs[0]["filter"] is None
    assert [job["filter"].get("webhookId") for job in jobs[1:]] == [None, "read", "read"]
    assert [job["replayId"] for job in listed_jobs(limit=2)] == ids[:1:-1]


def test_a_replay_may_be_of_ids_picked_by_hand(failed):
    api, made = failed
    answer = start(api, referenceIds=[made[0], made[3]])
    assert (answer.status_code, answer.json()["matched"]) == (202, 2)


def test_a_replay_is_paused_resumed_and_cancelled(failed):
    api, _ = failed
    replay_id = start(api, filter={}).json()["replayId"]
    paused = steer(api, replay_id, "pause")
    assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    assert steer(api, replay_id, "resume").json()["state"] == "running"
    cancelled = steer(api, replay_id, "cancel").json()
    assert (cancelled["state"], cancelled["skipped"]) == ("cancelled", 3)
    for action in ("pause", "resume"):
        problem(steer(api, replay_id, action), 409, "conflict")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"filter": {}, "referenceIds": [UNKNOWN]}, ""),
        ({"filter": []}, "/filter"),
        ({"filter": {"state": "delivered"}}, "/filter/state"),
        ({"filter": {"states": ["queued"]}}, "/filter/states/0"),
        ({"filter": {"states": "delivered"}}, "/filter/states"),
        ({"filter": {"states": []}}, "/filter/states"),
        ({"filter": {"status": []}}, "/filter/status"),
        ({"filter": {"status": [True]}}, "/filter/status/0"),
        ({"filter": {"status": ["9xx"]}}, "/filter/status/0"),
        ({"filter": {"webhookId": "Order"}}, "/filter/webhookId"),
        ({"filter": {"webhookId": "never-was"}}, "/filter/webhookId"),
        ({"filter": {"webhookId": "never-was"}, "dryRun": True}, "/filter/webhookId"),
        ({"filter": {"since": "noon"}}, "/filter/since"),
        ({"planId": "x"}, "/planId"),
        ({"planId": UNKNOWN}, "/planId"),
        ({"planId": UNKNOWN, "filter": {}}, ""),
        ({"planId": UNKNOWN, "max": 1}, ""),
        ({"referenceIds": []}, "/referenceIds"),
        ({"referenceIds": ["x"]}, "/referenceIds/0"),
        ({"filter": {}, "ratePerSecond": 0}, "/ratePerSecond"),
        ({"filter": {}, "ratePerSecond": "5"}, "/ratePerSecond"),
        ({"filter": {}, "max": 0}, "/max"),
        ({"filter": {}, "includeUncertain": 1}, "/includeUncertain"),
        ({"filter": {}, "dryRun": "yes"}, "/dryRun"),
        ({"filter": {}, "dryrun": True}, "/dryrun"),
    ],
)
def test_an_invalid_request_for_a_replay_is_refused_field_by_field(api, body, pointer):
    document = problem(start(api, **body), 422, "request_rejected")
    assert [each["pointer"] for each in document["errors"]] == [pointer]


def test_members_that_are_null_count_as_not_given(failed):
    api, _ = failed
    body = {"filter": {"webhookId": None}, "referenceIds": None, "ratePerSecond": None, "max": None, "dryRun": True}
    assert start(api, **body).json()["matched"] == 3


def test_a_body_that_is_not_json_is_malformed(api):
    answer = api.call(
        "POST", "/v1/replays", key=api.operator_key, data="{", headers={"Content-Type": "application/json"}
    )
    problem(answer, 400, "malformed_json")
    problem(api.call("POST", "/v1/replays", key=api.operator_key, data="{}"), 415, "unsupported_media_type")


def test_replays_need_the_scope_operate(failed):
    api, _ = failed
    replay_id = start(api, filter={}).json()["replayId"]
    problem(start(api, filter={}, key=api.key), 403, "forbidden")
    problem(look(api, key=api.key), 403, "forbidden")
    problem(look(api, replay_id, key=api.key), 403, "forbidden")
    problem(steer(api, replay_id, "cancel", key=api.key), 403, "forbidden")


def test_unknown_and_foreign_replays_are_not_found_alike(failed):
    api, _ = failed
    replay_id = start(api, filter={}).json()["replayId"]
    answers = [
        look(api, replay_id, key=api.foreign_key),
        look(api, UNKNOWN),
        look(api, "x"),
        steer(api, replay_id, "pause", key=api.foreign_key),
        steer(api, UNKNOWN, "resume"),
        steer(api, "x", "cancel"),
    ]
    for answer in answers:
        problem(answer, 404, "not_found")
    assert len({answer.content for answer in answers}) == 1
    assert look(api, key=api.foreign_key).json() == {"replays": []}
    assert look(api, replay_id).json()["state"] in {"planning", "running"}


def test_what_a_replay_makes_is_listed_by_its_id(failed):
    api, made = failed
    replay_id = start(api, filter={}).json()["replayId"]
    assert refs(listed(api, replay=replay_id)) == []  # no worker has run it yet
    run(api, replay_id)
    rows = listed(api, replay=replay_id).json()["invocations"]
    assert sorted(row["replayOf"] for row in rows) == sorted(made[:3])
    assert {row["state"] for row in rows} == {State.QUEUED}
    assert not {row["referenceId"] for row in rows} & set(made)
    assert refs(listed(api, replay=UNKNOWN)) == []
