"""What callers send: complete requests, ready to be written to a connection, and the answers that they want."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.children import ROOT, BenchError, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Request:
    """A call. ``statuses`` are those that may answer it; rates and latencies are those of the first.

    ``calls`` is how many requests the endpoint receives for it, ``weight`` its share of a mix.
    ``result`` is the endpoint's status that a result of 200 has to carry; None: it is not looked at.
    """

    name: str
    text: str
    statuses: Sequence[int] = (200,)
    result: int | None = 200
    calls: int = 1
    weight: float = 1.0


def post_request(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a complete POST of JSON as bytes."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def start_callers(ports: Sequence[int], requests: Sequence[Request], **options: Any) -> subprocess.Popen[bytes]:
    """Start callers (`python -m bench.callers`); `summary_of` waits for their summary."""
    command = [sys.executable, "-m", "bench.callers", "--port", *map(str, ports)]
    for option, value in options.items():
        command += [f"--{option.replace('_', '-')}", str(value)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps([asdict(each) for each in requests]).encode())
    process.stdin.close()
    process.stdin = None
    return process


def summary_of(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for callers that `start_callers` started; return their summary."""
    out, err = process.communicate(timeout=300)
    if process.returncode:
        raise BenchError(f"The callers failed: {err.decode(errors='replace')[-400:]}")
    found: dict[str, Any] = json.loads(out)
    return found
