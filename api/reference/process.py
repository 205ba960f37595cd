"""Describes the operations about the process itself: its health, its documents and its pages."""

from __future__ import annotations

from typing import Final

from api.problems import MEDIA_TYPE
from api.reference import schemas
from api.reference.operation import DocumentedAnswer, Operation

TYPES: Final = "application/typescript"
HTML: Final = "text/html"
_UNCHANGED: Final = DocumentedAnswer("Not modified: the browser's copy is current.", media_type="")

OPERATIONS: Final = (
    Operation(
        id="getHealth",
        path="/healthz",
        summary="Is the process alive?",
        about="Always 200 while the process can answer.",
        answers={200: DocumentedAnswer("The process is alive.", schemas.Health)},
    ),
    Operation(
        id="getReadiness",
        path="/readyz",
        summary="Can triggers be taken and sent?",
        about=(
            "Whether Redis can be reached, how many workers serve each lane, and which faults of the server put "
            "accepted calls at risk."
        ),
        answers={
            200: DocumentedAnswer("They can. `warnings` names a lane without a worker.", schemas.Ready),
            503: DocumentedAnswer(
                "`unavailable`: Redis cannot be reached, or no worker serves the lane `interactive`.",
                schemas.Unready,
                MEDIA_TYPE,
            ),
        },
    ),
    Operation(
        id="getClientModule",
        path="/webhooks.js",
        summary="The JavaScript client",
        about="An ES module for browsers and Node, without dependencies.",
        answers={200: DocumentedAnswer("The module.", media_type="text/javascript"), 304: _UNCHANGED},
    ),
    Operation(
        id="getClientTypes",
        path="/webhooks.d.ts",
        summary="The types of the JavaScript client",
        about="TypeScript finds them where they lie beside the module. `/v1/webhooks.d.ts` also knows your webhooks.",
        answers={200: DocumentedAnswer("The types.", media_type=TYPES), 304: _UNCHANGED},
    ),
    Operation(
        id="getDocument",
        path="/openapi.json",
        summary="This document",
        about="OpenAPI 3.1.",
        answers={200: DocumentedAnswer("The document.", schemas.Document)},
    ),
    Operation(
        id="getFront",
        path="/",
        summary="Redirects to this page",
        about="Redirects to `/docs`.",
        answers={302: DocumentedAnswer("The redirect.", media_type="text/plain")},
    ),
    Operation(
        id="getPage",
        path="/docs",
        summary="This document as a page",
        about="One page, with examples.",
        answers={200: DocumentedAnswer("The page.", media_type=HTML)},
    ),
    Operation(
        id="getConsole",
        path="/console",
        summary="The console",
        about="A page for operators: traffic, failures, invocations, replays, webhooks. It asks for a key itself.",
        answers={200: DocumentedAnswer("The page.", media_type=HTML), 304: _UNCHANGED},
    ),
)
