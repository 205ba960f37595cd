"""Runs the `relay` command in a process forked from one that has imported it, because importing takes a second."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FORKS = multiprocessing.get_context("forkserver")
_IMPORTED = ["relay.cli", "relay.wiring.runtime", "relay.wiring.worker_runtime", "rich.console", "rich.table", __name__]


def start_command(arguments: Sequence[str], environ: Mapping[str, str], streams: Sequence[str]) -> Any:
    """Start the command with the files ``streams`` as standard input, output and error; return the process.

    One whose name is empty is closed.
    """
    _FORKS.set_forkserver_preload(_IMPORTED)
    process = _FORKS.Process(target=_run, args=(list(arguments), dict(environ), list(streams)), daemon=True)
    process.start()
    return process


def run_command(arguments: Sequence[str], environ: Mapping[str, str], directory: Path) -> tuple[int, str, str]:
    """Run the command; return its exit status, standard output and standard error."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        out, err = Path(place) / "out", Path(place) / "err"
        process = start_command(arguments, environ, [os.devnull, str(out), str(err)])
        process.join()
        return process.exitcode, out.read_text(), err.read_text()


def _run(arguments: list[str], environ: dict[str, str], streams: list[str]) -> None:
    for number, path in enumerate(streams):
        if not path:
            os.close(number)
            continue
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOCTTY)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environ)
    sys.stdin, sys.stdout, sys.stderr = (  # as Python begins
        open(number, "rww"[number], closefd=False) if path else None  # noqa: SIM115
        for number, path in enumerate(streams)
    )
    from relay.__main__ import main

    sys.argv = ["relay", *arguments]
    main()
