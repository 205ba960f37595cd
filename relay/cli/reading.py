"""Opens an invocation's result for a command, or says how to look the invocation up."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from relay.errors import Refused, RelayError, VaultError
from relay.vault import result_owner
from relay.views import result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.cli.output import Screen
    from relay.domain.invocation import Invocation
    from relay.wiring.runtime import Runtime


def result_in(runtime: Runtime, invocation: Invocation, screen: Screen | None = None) -> dict[str, Any] | None:
    """Return an invocation's result, ``{status, data, error}``; None if it has none.

    If the data do not open, they are left out with a note on ``screen``; without a screen, ``VaultError`` is raised.
    """
    sealed = runtime.store.result_of(invocation.reference_id)
    if sealed is None:
        return result_of(invocation, None)
    try:
        opened = runtime.data_vault.open(sealed, result_owner(invocation.plugin, invocation.reference_id))
    except VaultError:
        if screen is None:
            raise
        screen.note("The answer's data are left out: RELAY_DATA_KEYS does not hold the key that opens them.")
        opened = b"null"
    return result_of(invocation, opened)


@contextmanager
def adding_reference_id(screen: Screen, reference_id: str) -> Iterator[None]:
    """Add the reference id to any error raised inside except a refusal, as the call may have been accepted.

    After Ctrl-C, it is shown.
    """
    try:
        yield
    except KeyboardInterrupt:
        screen.note(f"If the call was accepted, it is not undone: relay invocations show {reference_id}")
        raise
    except Refused:
        raise
    except RelayError as error:
        error.reference_id = reference_id
        error.add("If the call was accepted nevertheless, `relay invocations show` shows it.")
        raise
