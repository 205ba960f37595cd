"""Queues BENCH_CALLS messages with no worker running and prints their ids, one a line."""

from __future__ import annotations

import json
import os
import sys
from uuid import uuid4

from bench.peers.dramatiq_requests.app import send


def main() -> None:
    data = json.loads(os.environ["BENCH_DATA"])
    ids = [str(uuid4()) for _ in range(int(os.environ["BENCH_CALLS"]))]
    for call_id in ids:
        send(call_id, data)
    sys.stdout.write("\n".join(ids))


if __name__ == "__main__":
    main()
