"""Makes the documents' pictures of the console, from a running relay: ``make demo DEMO_ARGS=--traffic``, for a quarter of an hour.

``python -m tests.e2e.console_pictures URL KEY_FILE INTO``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import requests

from tests.e2e.console_browser import Console, chromium
from tests.tools import find

SIZE = {"width": 1280, "height": 800}
LARGEST_BYTES = 300_000


def reference_of(console: Console, key: str, **filters: str) -> str:
    """Return the newest invocation that fits the filters, of those with the most attempts."""
    answer = requests.get(
        f"{console.url}/v1/invocations", params=filters, headers={"Authorization": f"Bearer {key}"}, timeout=30
    )
    answer.raise_for_status()
    return max(answer.json()["invocations"], key=lambda row: len(row["attempts"]))["referenceId"]


def take(console: Console, key: str, into: Path) -> None:
    retried = reference_of(console, key, webhookId="send-reminder", state="delivered")
    chain = reference_of(console, key, webhookId="book-and-bill")
    views = {
        "overview": ("overview?range=15m", "Overview"),
        "invocations": ("invocations?failed=true&since=1h", "Invocations"),
        "invocation": (f"invocations/{retried}", "send-reminder"),
        "chain": (f"invocations/{chain}", "book-and-bill"),
        "replay": ("replays/new?webhookId=update-record&since=1h", "New replay"),
        "webhooks": ("webhooks", "Webhooks"),
    }
    for name, (route, heading) in views.items():
        console.go(route, heading)
        console.page.wait_for_timeout(1_500)  # long enough for two refreshes: charts are drawn, times are current
        path = into / f"console-{name}.png"
        console.page.screenshot(path=path)
        assert path.stat().st_size < LARGEST_BYTES, path
        print(path)


def main(url: str, key_file: str, into: str) -> None:
    key = Path(key_file).read_text(encoding="utf-8").strip()
    with chromium(find("chromium")) as browser:
        page = browser.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
        take(Console(page, url).signed_in(key), key, Path(into))


if __name__ == "__main__":
    main(*sys.argv[1:])
