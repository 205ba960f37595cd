"""Nothing of Celery's that waits stops a worker's other greenlets: what it loads before gevent patches counts too."""

from __future__ import annotations

import json
import subprocess
import sys

SHOW = """
import json, sys
sys.argv = ["celery", "-A", "workers.app", "worker", "-P", "gevent", "-c", "4"]
import celery.__main__  # as the command does
celery.maybe_patch_concurrency()
import workers.app
from gevent import monkey
unpatched = {id(one): f"{module}.{name}" for module, names in monkey.saved.items() for name, one in names.items()}
libraries = {"celery", "kombu", "vine", "amqp", "redis", "billiard", "click"}
print(json.dumps(sorted(
    f"{name}.{of}: {unpatched[id(one)]}"
    for name, module in list(sys.modules.items()) if name.split(".")[0] in libraries
    for of, one in vars(module).items() if callable(one) and id(one) in unpatched
)))
"""
#: Classes made of locks, which are patched all the same: they look them up when they are used.
HARMLESS = {"amqp.channel.Queue: queue.Queue", "kombu.resource.LifoQueue: queue.LifoQueue"}


def test_celery_s_libraries_hold_no_function_that_would_stop_the_process():
    environ = {"RELAY_REDIS_URL": "redis://127.0.0.1:1/0", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", SHOW], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])) <= HARMLESS
