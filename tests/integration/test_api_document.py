"""The OpenAPI document describes the running API: real answers fit its schemas, and its examples run."""

import copy
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import jsonschema_rs
import pytest
import requests

from relay.domain.invocation import Outcome, State
from relay.store.keys import keyspace
from tests.integration.test_api_listing import accepted
from tests.tools import require

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document(running):
    return requests.get(f"{running.url}/openapi.json", timeout=5).json()


@pytest.fixture(scope="module")
def closed(document):
    """The document, with schemas changed to allow only the members that they describe, so that none is missing."""
    strict = copy.deepcopy(document)
    for schema in strict["components"]["schemas"].values():
        schema["additionalProperties"] = False
    strict["components"]["schemas"].pop("Document")
    return strict


def fits(closed, answer, path, method="get"):
    """Check an answer against the document's schema for its route and status."""
    said = closed["paths"][path][method]["responses"][str(answer.status_code)]["content"]
    assert answer.status_code != 500
    media_type = answer.headers["Content-Type"].split(";")[0]
    assert media_type in said, (media_type, list(said))
    schema = {**closed, **said[media_type]["schema"]}
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(answer.json())
    for name in closed["paths"][path][method]["responses"][str(answer.status_code)].get("headers", {}):
        assert name in answer.headers or name == "Preference-Applied"


@pytest.fixture
def api(fresh_api):
    fresh_api.beat("w1", "interactive")
    return fresh_api


def test_answers_to_triggers_fit_the_document(api, closed):
    path = "/v1/webhooks/{webhookId}/trigger"
    with api.hand_worker(data={"n": [1, None]}):
        fits(closed, api.trigger(body={"data": {}}), path, "post")
    fits(closed, api.trigger(prefer="respond-async"), path, "post")
    fits(closed, api.trigger("nothing"), path, "post")
    fits(closed, api.trigger(body={"headers": {"X-No": "1"}}), path, "post")
    fits(closed, api.trigger(body={"data": {}}, key="whk_no"), path, "post")
    bulk = [{"webhookId": "order"}, {"webhookId": "nothing"}, 3]
    fits(closed, api.call("POST", "/v1/triggers", json=bulk), "/v1/triggers", "post")


def test_records_fit_the_document(api, closed):
    path = "/v1/invocations/{referenceId}"
    made = [accepted(api) for _ in range(4)]
    api.settle(made[:1], data="x")
    api.settle(made[1:2], status=0, outcome=Outcome.DNS_FAILED, state=State.UNREACHABLE)
    api.store.cancel(made[2])
    made.append(api.trigger("nothing").json()["referenceId"])
    for ref in made:
        for key in (api.key, api.operator_key):
            fits(closed, api.call("GET", f"/v1/invocations/{ref}", key=key), path)
    fits(closed, api.call("GET", "/v1/invocations/x"), path)
    for query in ("", "?limit=2", "?state=gone", "?since=x&until=y"):
        fits(closed, api.call("GET", f"/v1/invocations{query}", key=api.operator_key), "/v1/invocations")
    fits(closed, api.call("GET", "/v1/invocations"), "/v1/invocations")


def test_replays_fit_the_document(api, closed):
    api.settle([accepted(api, "read")], status=500)
    for body in ({"filter": {}, "dryRun": True}, {"filter": {}, "ratePerSecond": 0.5}, {"filter": 1}, {}):
        answer = api.call("POST", "/v1/replays", key=api.operator_key, json=body)
        fits(closed, answer, "/v1/replays", "post")
        if answer.status_code == 202:
            replay_id = answer.json()["replayId"]
    fits(closed, api.call("GET", "/v1/replays", key=api.operator_key), "/v1/replays")
    for path in (f"/v1/replays/{replay_id}", "/v1/replays/x"):
        fits(closed, api.call("GET", path, key=api.operator_key), "/v1/replays/{replayId}")
    for action in ("pause", "resume", "cancel", "pause"):
        answer = api.call("POST", f"/v1/replays/{replay_id}/{action}", key=api.operator_key)
        fits(closed, answer, f"/v1/replays/{{replayId}}/{action}", "post")


def test_what_probes_are_told_fits_the_document(api, closed):
    fits(closed, requests.get(f"{api.url}/healthz", timeout=5), "/healthz")
    fits(closed, requests.get(f"{api.url}/readyz", timeout=5), "/readyz")
    api.queue.delete(keyspace.shared("workers"))
    fits(closed, requests.get(f"{api.url}/readyz", timeout=5), "/readyz")


def test_the_page_is_served_whole_and_kept_by_browsers(api):
    answer = requests.get(f"{api.url}/docs", timeout=5)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.text.endswith("</html>")
    again = requests.get(f"{api.url}/docs", headers={"If-None-Match": answer.headers["ETag"]}, timeout=5)
    assert (again.status_code, again.content) == (304, b"")


#: Programs that run the file named on each input line like a separate program, and report its end.
_RUNNERS = {
    "sh": ("sh", "-c", 'while read -r path; do sh "$path" </dev/null && echo && echo ended || exit 1; done'),
    "python": (
        *(sys.executable, "-u", "-c"),
        "import runpy, sys\nfor line in sys.stdin: runpy.run_path(line.strip(), run_name='__main__'); print('\\nended')",
    ),
    "js": (
        *("node", "--input-type=module", "-e"),
        """import { createInterface } from "node:readline";
        for await (const path of createInterface({ input: process.stdin })) { await import(path); console.log("\\nended"); }""",
    ),
}


@contextmanager
def runner(language, environ):
    """Run examples as printed, one after another in one process, because starting a process takes far longer."""
    program, *arguments = _RUNNERS[language]
    command = [require("node") if program == "node" else program, *arguments]
    if language == "sh":
        require("curl")  # the shell's examples call it
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environ, cwd=environ["PWD"], text=True, **pipes) as process:

        def run(path):
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            shown = []
            for line in iter(process.stdout.readline, ""):
                if line == "ended\n":
                    return "".join(shown)
                shown.append(line)
            raise AssertionError(f"{path.name}: {''.join(shown)}{process.stderr.read()}")

        try:
            yield run
        finally:
            process.kill()


@pytest.mark.parametrize("language", ["sh", "python", "js"])
def test_every_example_runs_as_it_is_printed(api, document, tmp_path, language):
    ref = accepted(api, "read")
    api.settle([ref], status=503)
    replay_id = api.call("POST", "/v1/replays", key=api.operator_key, json={"filter": {}}).json()["replayId"]
    both, _ = api.runtime.api_keys.create("acme", ["trigger", "operate", "metrics"])
    environ = os.environ | {
        "RELAY_API_URL": api.url,
        "KEY": both,
        "REF": ref,
        "REPLAY": replay_id,
        "PYTHONPATH": str(ROOT),
        "PWD": str(tmp_path),
    }
    (tmp_path / "webhooks.mjs").write_bytes(requests.get(f"{api.url}/webhooks.js", timeout=5).content)
    with api.hand_worker(data="done"), runner(language, environ) as run:
        for operation in (each for item in document["paths"].values() for each in item.values()):
            api.beat("w1", "interactive")  # a worker that is silent for four seconds counts as gone
            (source,) = (each["source"] for each in operation["x-codeSamples"] if each["lang"] == language)
            example = tmp_path / f"{operation['operationId']}.{'mjs' if language == 'js' else language}"
            example.write_text(source)
            assert run(example).strip(), operation["operationId"]
