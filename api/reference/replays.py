"""Describes the operations of replay jobs."""

from __future__ import annotations

from typing import Final

from api.auth import OPERATE
from api.queries import ReplaysQuery
from api.reference import schemas
from api.reference.operation import BODY_PROBLEMS, DocumentedAnswer, Operation, Sample
from api.replay_requests import ReplayBody
from relay import errors


def _steering(action: str, summary: str, about: str) -> Operation:
    return Operation(
        id=f"{action}Replay",
        method="POST",
        path=f"/v1/replays/{{replayId}}/{action}",
        summary=summary,
        about=about,
        scopes=OPERATE,
        answers={200: DocumentedAnswer("The job as it stands afterwards.", schemas.Replay)},
        problems=(errors.NotFound, errors.Conflict),
    )


OPERATIONS: Final = (
    Operation(
        id="startReplay",
        method="POST",
        path="/v1/replays",
        summary="Start a replay",
        about=(
            "Starts a job that workers run. For each matching invocation it makes a new one, with today's "
            "registration, at the given rate. Only invocations that were final before the job began match, and never "
            "steps of chains. The job skips, and counts by reason, those that were replayed with success or are being "
            "replayed, uncertain ones (they may have been executed already, and must not be repeated) unless they are "
            "included, and those that have expired or were forgotten."
        ),
        scopes=OPERATE,
        body=ReplayBody,
        answers={
            200: DocumentedAnswer("The plan of a dry run; nothing was started.", schemas.Plan),
            202: DocumentedAnswer(
                "The job was made; `matched` is null while a large one is still being planned.",
                schemas.StartedReplay,
                headers={"Location": "The job's address."},
            ),
        },
        problems=(*BODY_PROBLEMS, errors.RequestRejected),
        sample=Sample(body={"filter": {"webhookId": "order", "status": ["5xx"]}, "ratePerSecond": 20}),
    ),
    Operation(
        id="listReplays",
        path="/v1/replays",
        summary="List replays",
        about="The plugin's replay jobs, newest first.",
        scopes=OPERATE,
        query=ReplaysQuery,
        answers={200: DocumentedAnswer("The jobs.", schemas.Replays)},
    ),
    Operation(
        id="getReplay",
        path="/v1/replays/{replayId}",
        summary="Look at a replay",
        about="The job's progress. The job is done when `matched` = `delivered` + `failed` + `skipped`.",
        scopes=OPERATE,
        answers={200: DocumentedAnswer("The job.", schemas.Replay)},
        problems=(errors.NotFound,),
    ),
    _steering(
        "pause", "Pause a replay", "Nothing more is sent until the job is resumed; calls that are being sent end."
    ),
    _steering("resume", "Resume a replay", "The job goes on where it was paused."),
    _steering(
        "cancel",
        "Cancel a replay",
        "Ends the job for good: what it has made but not sent is cancelled, and the rest is skipped.",
    ),
)
