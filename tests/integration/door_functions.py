"""Counts the Python functions of one thread of the API from a single trigger to its answer, of which nobody waits for more.

``python -m tests.integration.door_functions WEBHOOK KEY FILE`` writes the count into FILE; settings are in the environment.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from api.wsgi import app
from tests.counted import Counted

BODY = b'{"data": {"id": 7, "text": "hello"}}'
WARM_UP = 20


def environ(webhook, key):
    """What Granian gives the application."""
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": f"/v1/webhooks/{webhook}/trigger",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_AUTHORIZATION": f"Bearer {key}",
        "HTTP_PREFER": "respond-async",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(BODY)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(BODY),
        "wsgi.errors": sys.stderr,
    }


def main():
    webhook, key, file = sys.argv[1:]
    statuses = []

    def start_response(status, _headers, _exc_info=None):
        statuses.append(status)

    for _ in range(WARM_UP):
        app(environ(webhook, key), start_response)
    request = environ(webhook, key)
    with Counted() as counted:
        app(request, start_response)
    if set(statuses) != {"202 Accepted"}:
        sys.exit(f"answered with {sorted(set(statuses))}")
    for name, count in counted.functions.most_common():
        print(count, name)
    Path(file).write_text(str(counted.functions.total()))


if __name__ == "__main__":
    main()
