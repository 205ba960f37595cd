"""Runs calls of the JavaScript client in Node, for the tests that check it from Python."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODULE = Path(__file__).parents[1] / "api" / "static" / "webhooks.js"
_DRIVER = Path(__file__).parent / "e2e" / "javascript" / "call.mjs"


@dataclass(frozen=True)
class JavaScript:
    """A client in a Node process of its own for each `calls`."""

    node: str
    base_url: str
    key: str
    source: str = str(MODULE)

    def call(self, method: str, *args: Any, **more: Any) -> dict[str, Any]:
        """One call: ``{"value", "ms"}`` or ``{"error", "ms"}``. ``abort_after_ms`` aborts it by a signal."""
        return self.calls([(method, args)], **more)[0]

    def calls(
        self, calls: list[tuple[str, tuple[Any, ...]]], *, abort_after_ms: int | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """Several calls at once."""
        abort = {} if abort_after_ms is None else {"abortAfterMs": abort_after_ms}
        task = {
            "source": self.source,
            "baseUrl": self.base_url,
            "key": self.key,
            "options": options,
            "calls": [{"method": method, "args": args, **abort} for method, args in calls],
        }
        done = subprocess.run(
            [self.node, str(_DRIVER)], input=json.dumps(task), capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
