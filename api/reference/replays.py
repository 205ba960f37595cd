"""Describes the operations of replay jobs."""

from __future__ import annotations

from typing import Final

from marshmallow import fields

from api.auth import OPERATE
from api.queries import ReplaysQuery
from api.reference.members import anything, counts_by, maybe, schema, several, text, time, whole, word
from api.reference.operation import BODY_PROBLEMS, DocumentedAnswer, Operation, Sample
from api.reference.schemas import DAMAGED, Group
from api.replay_requests import ReplayBody
from relay import errors
from relay.store.replays.jobs import ReplayState

Plan: Final = schema(
    "ReplayPlan",
    planId=text("The plan's id, to start it within a day; null if reference ids were given.", maybe=True),
    matched=whole("How many invocations match."),
    skipped=whole("How many of them would be skipped."),
    breakdown=several(Group, "The matching invocations, by webhook, outcome and status."),
    skippedReasons=counts_by("How many are skipped for each reason."),
    leftOut=counts_by(
        "How many more the filter selects that do not match, since their replay has succeeded (`replayed`) or is "
        "under way (`being_replayed`)."
    ),
)

StartedReplay: Final = schema(
    "StartedReplay",
    replayId=text("The job's id.", format="uuid"),
    state=word("The job's state.", ReplayState),
    matched=whole("How many invocations match; null while the job is being planned.", maybe=True),
)

Replay: Final = schema(
    "Replay",
    replayId=text("The job's id.", format="uuid"),
    state=word("The job's state; null if it is damaged.", ReplayState, maybe=True),
    matched=whole("How many invocations match; null while the job is being planned.", maybe=True),
    started=whole("How many new invocations it has made."),
    delivered=whole("How many of those were answered without error."),
    failed=whole("How many of those ended in any other way."),
    skipped=whole("How many of the matching invocations it skipped."),
    ratePerSecond=maybe(
        "How many invocations it starts a second; null if as fast as possible.", fields.Float, required=True
    ),
    createdAt=time("When the job was made."),
    finishedAt=time("When it ended.", maybe=True),
    skippedReasons=counts_by("How many are skipped for each reason."),
    caller=text("The id of the API key that made it, or `cli`.", maybe=True),
    filter=anything(
        "What was chosen, by the names of the API's filters (of a subject only that one was named: `true`); null if "
        "reference ids were given."
    ),
    damaged=DAMAGED,
)

Replays: Final = schema("Replays", replays=several(Replay, "Newest first."))


def _steering(action: str, summary: str, about: str) -> Operation:
    return Operation(
        id=f"{action}Replay",
        method="POST",
        path=f"/v1/replays/{{replayId}}/{action}",
        summary=summary,
        about=about,
        scopes=OPERATE,
        answers={200: DocumentedAnswer("The job as it stands afterwards.", Replay)},
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
            200: DocumentedAnswer("The plan of a dry run; nothing was started.", Plan),
            202: DocumentedAnswer(
                "The job was made; `matched` is null while a large one is still being planned.",
                StartedReplay,
                headers={"Location": "The job's address."},
            ),
        },
        problems=(*BODY_PROBLEMS, errors.RequestRejected, errors.Conflict),
        sample=Sample(body={"filter": {"webhookId": "order", "status": ["5xx"]}, "ratePerSecond": 20}),
    ),
    Operation(
        id="listReplays",
        path="/v1/replays",
        summary="List replays",
        about="The plugin's replay jobs, newest first.",
        scopes=OPERATE,
        query=ReplaysQuery,
        answers={200: DocumentedAnswer("The jobs.", Replays)},
    ),
    Operation(
        id="getReplay",
        path="/v1/replays/{replayId}",
        summary="Get a replay",
        about="The job's progress. The job is done when `matched` = `delivered` + `failed` + `skipped`.",
        scopes=OPERATE,
        answers={200: DocumentedAnswer("The job.", Replay)},
        problems=(errors.NotFound,),
    ),
    _steering(
        "pause", "Pause a replay", "Nothing more is sent until the job is resumed; calls that are being sent end."
    ),
    _steering("resume", "Resume a replay", "The job continues where it was paused."),
    _steering(
        "cancel",
        "Cancel a replay",
        "Ends the job: calls that it made but has not sent are cancelled, and the rest is skipped.",
    ),
)
