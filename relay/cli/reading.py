"""What became of an invocation, as commands tell it: its result, opened with the data keys, or where to look it up."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from relay.errors import Refused, RelayError, VaultError
from relay.vault import result_owner
from relay.views import result_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.cli.output import Screen
    from relay.invocation import Invocation
    from relay.runtime import Runtime


def result_in(runtime: Runtime, invocation: Invocation, screen: Screen | None = None) -> dict[str, Any] | None:
    """Return ``{status, data, error}``, or None where there is none.

    With a ``screen``, data that do not open are left out and it says so; else that is a ``VaultError``.
    """
    sealed = runtime.store.result_of(invocation.reference_id)
    if sealed is None:
        return result_of(invocation, None)
    try:
        opened = runtime.data_vault.open(sealed, result_owner(invocation.plugin, invocation.reference_id))
    except VaultError:
        if screen is None:
            raise
        screen.note("The data of the answer are left out: RELAY_DATA_KEYS does not hold the key that they need.")
        opened = b"null"
    return result_of(invocation, opened)


@contextmanager
def naming(reference_id: str) -> Iterator[None]:
    """Name an invocation in whatever fails inside but a refusal: it may be there, and nobody else knows its id."""
    try:
        yield
    except Refused:
        raise
    except RelayError as error:
        error.reference_id = reference_id
        error.add("If the call was accepted all the same, `relay invocations show` tells what became of it.")
        raise
