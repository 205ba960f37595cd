"""Runs the demo of ``relay up --demo``: registers a webhook, makes a key, sends a trigger, reads its record."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from relay.client import Relay
from relay.errors import Unauthenticated
from relay.registration.document import read_registrations
from relay.text.hosts import LOOPBACK
from relay.up import demo_traffic
from relay.wiring.runtime import Runtime, cli_runtime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.settings import Settings
    from relay.up.datadir import DataDir

PLUGIN: Final = "demo"
WEBHOOK_ID: Final = "demo-echo"
KEY_FILE: Final = "demo.key"
_TRIGGER: Final[Mapping[str, Any]] = {
    "data": {"hello": "world"},
    "headers": {"X-Note": "sent by the demo"},
    "queryParams": {"page": 1},
}

# A registration as a developer would write it: a pre-filled secret, a header and a query parameter for the caller.
_DOCUMENT: Final = """\
{
  id: "demo-echo",
  url: "http://HOST:PORT/echo",
  method: "POST",
  headers: {
    "X-Api-Key": "a-secret-that-plugins-never-see",
    "X-Note": ""
  },
  queryParams: ["page"],
  description: "The sample endpoint: answers with what it was sent."
}
"""


def run_demo(settings: Settings, directory: DataDir, endpoint_port: int, *, traffic: bool = False) -> dict[str, Any]:
    """Register the sample webhook and trigger it through the API, or raise a ``RelayError``.

    Returns the answer with four members, its record, a command that repeats the call, and the key. With ``traffic`` the
    webhooks that the demo's callers use are registered as well.
    """
    runtime = cli_runtime(settings)
    for document in (_DOCUMENT, demo_traffic.DOCUMENT) if traffic else (_DOCUMENT,):
        text = document.replace("HOST", LOOPBACK).replace("PORT", str(endpoint_port))
        runtime.registry.apply(*read_registrations(text, runtime.rules, plugin=PLUGIN))
    key = _key(runtime, directory)
    with Relay(settings.api_url, key) as relay:
        answer = relay.webhooks.trigger(WEBHOOK_ID, _TRIGGER["data"], _TRIGGER["headers"], _TRIGGER["queryParams"])
        record = relay.get(answer["referenceId"])
    curl = _curl(settings.api_url, directory)
    return {"answer": dict(answer), "record": dict(record), "curl": curl, "key": key}


def _key(runtime: Runtime, directory: DataDir) -> str:
    """Return the text of the last demo's key if it is still valid; otherwise make a key, and write it to a file."""
    if (directory.path / KEY_FILE).exists():
        with suppress(Unauthenticated):
            text = directory.read_secret(KEY_FILE)
            runtime.api_keys.authenticate(text)
            return text
    text, key = runtime.api_keys.create(PLUGIN, {"trigger", "operate"})
    try:
        directory.write(KEY_FILE, text + "\n")
    except OSError:
        runtime.api_keys.revoke(key.id)  # its text is lost
        raise
    return text


def _curl(api_url: str, directory: DataDir) -> str:
    """Return a shell command that sends the same trigger, and takes the key from its file."""
    key = f'"Authorization: Bearer $(cat {shlex.quote(str(directory.path / KEY_FILE))})"'
    command = ("-H", "Content-Type: application/json", "-d", json.dumps(_TRIGGER))
    return f"curl {api_url}/v1/webhooks/{WEBHOOK_ID}/trigger -H {key} {shlex.join(command)}"
