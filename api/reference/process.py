"""Describes the operations about the process itself: its health, its documents and its pages."""

from __future__ import annotations

from typing import Final

from api.problems import MEDIA_TYPE
from api.reference import schemas
from api.reference.operation import DocumentedAnswer, Operation
from api.reference.samples import Sample

SCRIPT: Final = "text/javascript"
TYPES: Final = "application/typescript"
HTML: Final = "text/html"

OPERATIONS: Final = (
    Operation(
        id="getHealth",
        method="GET",
        path="/healthz",
        tag="Process",
        summary="Is the process alive?",
        about="Always 200 while the process can answer.",
        answers={200: DocumentedAnswer("The process is alive.", schemas.Health)},
        sample=Sample("GET", "/healthz", keyed=False),
    ),
    Operation(
        id="getReadiness",
        method="GET",
        path="/readyz",
        tag="Process",
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
        sample=Sample("GET", "/readyz", keyed=False),
    ),
    Operation(
        id="getClientModule",
        method="GET",
        path="/webhooks.js",
        tag="Process",
        summary="The JavaScript client",
        about="An ES module for browsers and Node, without dependencies.",
        answers={
            200: DocumentedAnswer("The module.", media_type=SCRIPT),
            304: DocumentedAnswer("Not modified: the browser's copy is current.", media_type=""),
        },
        sample=Sample("GET", "/webhooks.js", keyed=False, textual=True),
    ),
    Operation(
        id="getClientTypes",
        method="GET",
        path="/webhooks.d.ts",
        tag="Process",
        summary="The types of the JavaScript client",
        about="TypeScript finds them where they lie beside the module. `/v1/webhooks.d.ts` also knows your webhooks.",
        answers={
            200: DocumentedAnswer("The types.", media_type=TYPES),
            304: DocumentedAnswer("Not modified: the browser's copy is current.", media_type=""),
        },
        sample=Sample("GET", "/webhooks.d.ts", keyed=False, textual=True),
    ),
    Operation(
        id="getDocument",
        method="GET",
        path="/openapi.json",
        tag="Process",
        summary="This document",
        about="OpenAPI 3.1.",
        answers={200: DocumentedAnswer("The document.", schemas.Document)},
        sample=Sample("GET", "/openapi.json", keyed=False),
    ),
    Operation(
        id="getFront",
        method="GET",
        path="/",
        tag="Process",
        summary="Redirects to this page",
        about="Redirects to `/docs`.",
        answers={302: DocumentedAnswer("The redirect.", media_type="text/plain")},
        sample=Sample("GET", "/", keyed=False, textual=True),
    ),
    Operation(
        id="getPage",
        method="GET",
        path="/docs",
        tag="Process",
        summary="This document as a page",
        about="One page, with examples.",
        answers={200: DocumentedAnswer("The page.", media_type=HTML)},
        sample=Sample("GET", "/docs", keyed=False, textual=True),
    ),
    Operation(
        id="getConsole",
        method="GET",
        path="/console",
        tag="Process",
        summary="The console",
        about="A page for operators: traffic, failures, invocations, replays, webhooks. It asks for a key itself.",
        answers={
            200: DocumentedAnswer("The page.", media_type=HTML),
            304: DocumentedAnswer("Not modified: the browser's copy is current.", media_type=""),
        },
        sample=Sample("GET", "/console", keyed=False, textual=True),
    ),
)
