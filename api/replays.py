"""The resources that plan, start, show and steer replay jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.auth import OPERATE
from api.bodies import media_type
from api.json_answers import answer_with
from api.queries import ReplaysQuery, read_query
from api.replay_requests import read_replay, rejected, request_of
from relay.audit.entry import Act
from relay.domain.reference_id import UUID_PATTERN, reference_time_ms
from relay.errors import BadParameter, Fault, NotFound, RequestRejected
from relay.text.media_types import JSON_TYPE
from relay.text.strict_json import dump_json, read_json
from relay.views import job_of, plan_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import falcon

    from api.bodies import Bodies
    from relay.replay.planning import Replays
    from relay.store.api_keys.records import ApiKey
    from relay.store.replays.jobs import ReplayJob
    from relay.store.subjects.hashes import SubjectHashes
    from relay.store.trail.writer import AuditWriter


class ReplaysResource:
    """`POST /v1/replays` and `GET /v1/replays`."""

    scopes = OPERATE
    query = ReplaysQuery

    def __init__(self, replays: Replays, subjects: SubjectHashes, bodies: Bodies, writer: AuditWriter) -> None:
        self._replays = replays
        self._subjects = subjects
        self._writer = writer
        self._bodies = bodies

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Start a job, or, with `dryRun`, answer with what it would do."""
        media_type(req, (JSON_TYPE,))
        with self._bodies.read(req) as body, body.parsing:
            wanted = read_replay(read_json(body.content))
        key = req.context.key
        try:
            if wanted.get("dryRun"):
                plan = plan_of(self._replays.plan(key.plugin, request_of(wanted, key.plugin, self._subjects)))
                self._writer.write(Act.REPLAY_PLAN, plugin=key.plugin)
                req.context.is_audited = True
                answer_with(resp, dump_json(plan))
                return
            job = self._start(key, wanted)
        except BadParameter as error:  # a filter may prove faulty only when it is used: the body is at fault then
            raise RequestRejected(error.message, faults=error.faults) from None
        req.context.is_audited = True  # the script that made the job wrote an entry
        resp.status = 202
        resp.set_header("Location", f"/v1/replays/{job.replay_id}")
        answer_with(resp, dump_json({"replayId": job.replay_id, "state": job.state, "matched": job.matched}))

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer with a plugin's jobs, newest first."""
        limit = read_query(req, self.query)["limit"]
        jobs = self._replays.list(req.context.key.plugin, limit=limit)
        answer_with(resp, dump_json({"replays": [job_of(job) for job in jobs]}))

    def _start(self, key: ApiKey, wanted: Mapping[str, Any]) -> ReplayJob:
        if "planId" not in wanted:
            return self._replays.start(key.plugin, request_of(wanted, key.plugin, self._subjects), caller=key.id)
        plan_id, rate = wanted["planId"], wanted.get("ratePerSecond")
        try:
            return self._replays.start_planned(key.plugin, plan_id, caller=key.id, rate_per_second=rate)
        except NotFound:
            fault = Fault("/planId", "must be the id of a plan that was made at most a day ago: plan the replay again")
            raise rejected(fault) from None


class ReplayResource:
    """`GET /v1/replays/{replayId}`."""

    scopes = OPERATE

    def __init__(self, replays: Replays) -> None:
        self._replays = replays

    def on_get(self, req: falcon.Request, resp: falcon.Response, replay_id: str) -> None:
        """Answer with the job as it stands."""
        answer_with(resp, dump_json(job_of(self._replays.get(req.context.key.plugin, _checked(replay_id)))))


class ReplaySteeringResource:
    """`POST /v1/replays/{replayId}/pause`, `resume`, `cancel`: one action, without a body."""

    scopes = OPERATE

    def __init__(self, steer: Callable[[str, str], ReplayJob]) -> None:
        self._steer = steer

    def on_post(self, req: falcon.Request, resp: falcon.Response, replay_id: str) -> None:
        """Take the action, and answer with the job as it stands afterwards."""
        checked = _checked(replay_id)
        req.context.is_audited = True  # the script writes an entry, even if there is no such job
        answer_with(resp, dump_json(job_of(self._steer(req.context.key.plugin, checked))))


def _checked(replay_id: str) -> str:
    if not UUID_PATTERN.match(replay_id) or reference_time_ms(replay_id) is None:
        raise NotFound
    return replay_id
