"""The ``relay`` command's entry point, which names the missing extra if only the client is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Final

_MARKS: Final = ("click", "redis", "celery")  # modules that the extra `server` installs and the client does not
_CLIENT_ONLY: Final = "Only the relay's client is installed here. For its commands: pip install 'webhook-relay[server]'"


def main() -> None:
    """Run the command line, or exit with status 1 and say what to install."""
    if any(find_spec(name) is None for name in _MARKS):
        sys.exit(_CLIENT_ONLY)
    from relay.cli import main as command_line  # noqa: PLC0415 - the client alone has no click

    try:
        command_line()
    except OSError as error:  # click writes help, versions and faults of usage itself
        from relay.cli.output import drop_unwritten  # noqa: PLC0415 - it loads more than these need

        drop_unwritten()
        sys.exit(f"Error: The output cannot be written: {error.strerror}.")


if __name__ == "__main__":
    main()
