"""Runs calls of the JavaScript client in Node, for the tests that check it from Python."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.timing import START_S

MODULE = Path(__file__).parents[1] / "api" / "static" / "webhooks.js"
_DRIVER = Path(__file__).parent / "e2e" / "javascript" / "call.mjs"


class Node:
    """A Node process that runs one task after another, because starting it takes longer than most tasks; a context.

    It has to exit by itself when its stdin is closed: nothing that a client leaves behind may keep the process alive.
    """

    def __init__(self, path: str) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._said}
        self._process = subprocess.Popen([path, str(_DRIVER)], **pipes)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.stdin.close()
            assert self._process.wait(START_S) == 0, self._last_words()
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._said.close()

    def ask(self, task: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the results of a task's calls; raises AssertionError with the reason if no client could be made."""
        self._process.stdin.write(json.dumps(task).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._last_words()
        answer = json.loads(line)
        assert "fault" not in answer, answer["fault"]
        return answer["results"]

    def _last_words(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")


@dataclass(frozen=True)
class JavaScript:
    """Makes calls in a shared Node process, with a new client for each `calls`."""

    node: Node
    base_url: str
    key: str
    source: str = str(MODULE)

    def call(self, method: str, *args: Any, **more: Any) -> dict[str, Any]:
        """Make one call; return ``{"value", "ms"}`` or ``{"error", "ms"}``. ``abort_after_ms`` aborts it by signal."""
        return self.calls([(method, args)], **more)[0]

    def calls(
        self,
        calls: list[tuple[str, tuple[Any, ...]]],
        *,
        abort_after_ms: int | None = None,
        shared: bool = False,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """Make several calls at once, perhaps with one signal; return their results in order."""
        abort = {} if abort_after_ms is None else {"abortAfterMs": abort_after_ms}
        return self.node.ask(
            {
                "source": self.source,
                "baseUrl": self.base_url,
                "key": self.key,
                "options": options,
                "shared": shared,
                "calls": [{"method": method, "args": args, **abort} for method, args in calls],
            }
        )
