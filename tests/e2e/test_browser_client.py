"""The JavaScript client in a real browser, in pages of other origins than the relay's."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.conftest import PLUGIN

_PAGE = """<!doctype html><meta charset="utf-8"><title>plugin</title><script type="module">
import {{ createApi }} from {module};
const settle = async (promise) => {{
  try {{ return {{ value: await promise }}; }}
  catch (error) {{ return {{ error: {{ name: error.name, code: error.code, status: error.status, errors: error.errors,
    message: error.message }} }}; }}
}};
window.run = (key, method, args) => settle(createApi({{ baseUrl: {base_url}, key }}).webhooks[method](...args));
window.runBytes = (key, size) => window.run(key, "trigger", ["send-jpeg", new Blob([new Uint8Array(size).fill(255)])]);
</script>"""


class _Site:
    """A separate origin that serves the plugin's page."""

    def __init__(self, page: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def sites(shop):
    base_url = shop.base_url
    page = _PAGE.format(module=json.dumps(f"{base_url}/webhooks.js"), base_url=json.dumps(base_url))
    served = [_Site(page) for _ in range(3)]
    yield served
    for site in served:
        site.close()


@pytest.fixture(scope="module")
def keys(shop, sites):
    """API keys for the first and the second site; no key lists the third as an origin."""
    return [shop.relay.create_key(PLUGIN, origins=(site.origin,)) for site in sites[:2]]


@pytest.fixture(scope="module")
def profile(browser):
    context = browser.new_context()
    yield context
    context.close()


_COUNTED = "const real = fetch; window.asked = []; window.fetch = (url, ...how) => (asked.push(String(url)), real(url, ...how));"


def _open(profile, site):
    page = profile.new_page()
    page.add_init_script(_COUNTED)
    page.goto(site.origin)
    page.wait_for_function("window.runBytes !== undefined", timeout=20_000)
    return page


def _run(page, key, method, *args):
    return page.evaluate("([key, method, args]) => window.run(key, method, args)", [key, method, list(args)])


def test_a_page_of_an_allowed_origin_triggers_a_webhook(shop, profile, sites, keys):
    page = _open(profile, sites[0])
    answer = _run(page, keys[0], "trigger", "echo", {"key": "value"}, {"X-Name": "Ada"}, None)["value"]
    assert set(answer) == {"referenceId", "status", "data", "error"}
    assert (answer["status"], answer["error"]) == (200, False)
    (received,) = shop.endpoint.received(answer["referenceId"])
    assert received.body == b'{"key":"value"}'
    assert "origin" not in received.headers


def test_a_page_is_told_the_documented_failures(profile, sites, keys):
    page = _open(profile, sites[0])
    assert _run(page, keys[0], "trigger", "nobody-knows")["error"]["code"] == "webhook_not_registered"
    misfit = _run(page, keys[0], "trigger", "strict", {"other": 1})["error"]
    assert (misfit["name"], misfit["code"], misfit["status"]) == ("WebhookError", "request_rejected", 422)
    assert misfit["errors"][0]["pointer"].startswith("/data")


def test_a_page_can_follow_an_invocation_by_its_reference_id(profile, sites, keys):
    page = _open(profile, sites[0])
    accepted = _run(page, keys[0], "triggerAsync", "slow", {})["value"]
    assert _run(page, keys[0], "wait", accepted["referenceId"])["value"]["status"] == 200
    assert _run(page, keys[0], "get", accepted["referenceId"])["value"]["state"] == "delivered"


def test_a_page_sends_a_blob_byte_for_byte(shop, profile, sites, keys):
    page = _open(profile, sites[0])
    answer = page.evaluate("([key, size]) => window.runBytes(key, size)", [keys[0], 100_001])["value"]
    (received,) = shop.endpoint.received(answer["referenceId"])
    assert received.body == b"\xff" * 100_001


def test_a_page_whose_origin_belongs_to_another_key_is_refused(profile, sites, keys):
    page = _open(profile, sites[1])
    assert _run(page, keys[1], "trigger", "echo", {})["value"]["status"] == 200
    assert "error" in _run(page, keys[0], "trigger", "echo", {})


def test_a_page_of_an_origin_that_no_key_allows_is_refused(profile, sites, keys):
    page = _open(profile, sites[2])
    done = _run(page, keys[0], "trigger", "echo", {})
    assert done["error"]["code"] == "forbidden"
    assert f"--origin {sites[2].origin}" in done["error"]["message"]
    paths = [url.split("/", 3)[3] for url in page.evaluate("asked")]
    trigger = "v1/webhooks/echo/trigger"
    assert paths == [trigger, "webhooks.js", trigger], "it is said after one repetition, not after all"


def test_a_page_whose_relay_is_away_is_not_told_to_change_its_origin(profile, sites, keys):
    page = _open(profile, sites[2])
    for path in ("v1/**", "webhooks.js"):
        page.route(f"**/{path}", lambda route: route.abort("connectionrefused"))
    assert _run(page, keys[0], "get", "0")["error"]["code"] == "unavailable"


def test_a_page_outlives_a_short_outage_behind_a_proxy(profile, sites, keys):
    page = _open(profile, sites[1])
    left = [3]

    def answer(route):
        left[0] -= 1
        if left[0] < 0:
            route.continue_()
        else:  # as a proxy does, without a word on who may read it
            route.fulfill(status=502, body="Bad gateway")

    for path in ("v1/**", "webhooks.js"):
        page.route(f"**/{path}", answer)
    assert _run(page, keys[1], "trigger", "echo", {})["value"]["status"] == 200
