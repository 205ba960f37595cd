"""Counts the Python functions that an API thread enters from a trigger to its answer, without a wait for the result.

``python -m tests.integration.door_functions WEBHOOK KEY FILE`` writes two counts into FILE: for a single trigger, and
for each trigger of a list. Settings come from the environment.
"""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from pathlib import Path

from api.wsgi import app
from tests.counted import Counted

TRIGGER = {"data": {"id": 7, "text": "hello"}}
ITEMS = 128
WARM_UP = 2
TRIES = 3


def environ(path, key, value):
    """Return the WSGI environment that Granian would pass to the application."""
    body = json.dumps(value).encode()
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_AUTHORIZATION": f"Bearer {key}",
        "HTTP_PREFER": "respond-async",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
    }


def functions(*request):
    """Return the least count of a few tries after a warm-up; some tries also look up the webhook."""
    statuses, counts = [], []

    def start_response(status, _headers, _exc_info=None):
        statuses.append(status)

    for _ in range(WARM_UP + TRIES):
        asked = environ(*request)
        with Counted() as counted:
            app(asked, start_response)
        counts.append(counted.functions)
    if set(statuses) != {"202 Accepted"}:
        sys.exit(f"answered with {sorted(set(statuses))}")
    least = min(counts[WARM_UP:], key=Counter.total)
    for name, count in least.most_common():
        print(count, name)
    return least.total()


def main():
    webhook, key, file = sys.argv[1:]
    single = functions(f"/v1/webhooks/{webhook}/trigger", key, TRIGGER)
    several = functions("/v1/triggers", key, [{"webhookId": webhook, **TRIGGER}] * ITEMS)
    Path(file).write_text(f"{single} {several / ITEMS}")


if __name__ == "__main__":
    main()
