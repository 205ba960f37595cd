"""Checks that the names given to a command exist, and suggests the ones that were probably meant."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from relay.errors import BadParameter, NotFound, Unavailable, WebhookNotRegistered
from relay.store.server.availability import going_on_without
from relay.text.similar import LIKENESS, nearest, slip_of

#: How alike two ids of random digits must be for one to count as a misspelling of the other.
_SAME_ID: Final = 0.85
#: Callers in records other than API keys.
_OWN_CALLERS: Final = frozenset({"cli", "callback", "alert"})

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.registration import Shape
    from relay.store.ledger.listing import Filter
    from relay.store.registry.webhooks import Registry
    from relay.store.replays.jobs import ReplayJob
    from relay.wiring.runtime import Runtime


def check_plugin(runtime: Runtime, plugin: str, *, has_records: bool = False) -> None:
    """Raise `BadParameter` for an unknown plugin; with ``has_records``, accept one that has nothing but records."""
    if not runtime.registry.has_plugin(plugin) and not (has_records and runtime.listing.knows(plugin)):
        raise BadParameter(_no_plugin(plugin, runtime.registry.plugins()))


def check_key(runtime: Runtime, key_id: str) -> None:
    """Raise `NotFound` for a key that never existed, with the id that was probably meant, or that was altered."""
    ids = [key.id for key in runtime.api_keys.list(None)]
    if key_id not in ids:
        if key_id in runtime.api_keys.unverified():
            raise NotFound(
                f"The record of API key `{key_id}` fails verification, so the key does not work: remove it with"
                f" `relay keys revoke {key_id}`, and create another one."
            )
        raise NotFound(_ask(f"There is no API key `{key_id}`.", key_id, ids, likeness=_SAME_ID))


def find_replay(runtime: Runtime, plugin: str | None, replay_id: str) -> ReplayJob:
    """Return a replay job; of any plugin, if none is given.

    Raises `NotFound`, with the id that was probably meant.
    """
    if plugin is not None:
        check_plugin(runtime, plugin)
    registry, partition = runtime.registry, runtime.keyspace.partition_of_ref(replay_id)
    for name in registry.plugins_in(partition) if plugin is None else [plugin]:
        with suppress(NotFound):
            return runtime.replays.get(name, replay_id)
    names = registry.plugins() if plugin is None else [plugin]
    jobs = [job.replay_id for name in names for job in runtime.replays.list(name)]
    sentence = "There is no" if plugin is None else f"Plugin `{plugin}` has no"
    raise NotFound(_ask(f"{sentence} replay `{replay_id}`.", replay_id, jobs, likeness=_SAME_ID))


@contextmanager
def finding(runtime: Runtime, plugin: str | None, reference_id: str) -> Iterator[None]:
    """Raise, for an invocation that is not found, an error that says which name is wrong."""
    try:
        yield
    except NotFound:
        raise _no_invocation(runtime, plugin, reference_id) from None


def _no_invocation(runtime: Runtime, plugin: str | None, reference_id: str) -> NotFound:
    if plugin is None:
        return NotFound(f"There is no invocation `{reference_id}`.")
    if not runtime.registry.has_plugin(plugin):
        return NotFound(_no_plugin(plugin, runtime.registry.plugins()))
    return NotFound(f"Plugin `{plugin}` has no invocation `{reference_id}`.")


def check_filter(runtime: Runtime, plugin: str, wanted: Filter) -> None:
    """Raise `BadParameter` for a filter whose plugin, webhook, key, chain or replay never existed."""
    check_plugin(runtime, plugin, has_records=True)
    _check_ids(runtime, plugin, wanted)
    try:
        runtime.listing.check_webhook(plugin, wanted)
    except BadParameter as error:
        ids = [each.shape.webhook_id for each in runtime.registry.shapes(plugin)]
        message = _ask(error.message, wanted.webhook_id or "", ids)
        raise BadParameter(message) from None


def _check_ids(runtime: Runtime, plugin: str, wanted: Filter) -> None:
    if wanted.caller is not None and wanted.caller not in _OWN_CALLERS:
        with suppress(Unavailable), going_on_without():  # the shared keys may not answer soon
            ids = [key.id for key in runtime.api_keys.list(None)]
            if wanted.caller not in ids:
                message = _ask(f"There is no API key `{wanted.caller}`.", wanted.caller, ids, likeness=_SAME_ID)
                raise BadParameter(message)
    if wanted.chain is not None and runtime.replays.unknown(plugin, [wanted.chain]):
        raise BadParameter(f"Plugin `{plugin}` has no invocation `{wanted.chain}`.")
    if wanted.replay is not None:
        try:
            find_replay(runtime, plugin, wanted.replay)
        except NotFound as error:
            raise BadParameter(error.message) from None


def current_webhook(registry: Registry, plugin: str, webhook_id: str) -> tuple[int, Shape]:
    """Return number and shape of the current revision; raise the error of `not_registered` if there is none."""
    found = registry.current(plugin, webhook_id, refresh=True)
    if found is None:
        raise not_registered(registry, plugin, webhook_id)
    return found


def not_registered(registry: Registry, plugin: str, webhook_id: str) -> WebhookNotRegistered:
    """Return the error for a webhook that is not registered, with the name that was probably meant."""
    if not registry.has_plugin(plugin):
        return WebhookNotRegistered(_no_plugin(plugin, registry.plugins()))
    ids = [each.shape.webhook_id for each in registry.shapes(plugin)]
    return WebhookNotRegistered(_ask(f"Plugin `{plugin}` has no webhook `{webhook_id}`.", webhook_id, ids))


def no_secret(runtime: Runtime, plugin: str, name: str) -> NotFound:
    """Return the error for a secret that is not set, with the name that was probably meant."""
    plugins = runtime.registry.plugins()
    if plugin not in plugins:
        return NotFound(_no_plugin(plugin, plugins))
    sentence = f"Plugin `{plugin}` has no secret `{name}`."
    return NotFound(_ask(sentence, name, runtime.registry.secrets.names(plugin)))


def check_new_plugin(registry: Registry, plugin: str, *, meant: bool) -> bool:
    """Return whether a plugin is new; raise `BadParameter` if its name looks misspelt, unless it is ``meant``."""
    if registry.has_plugin(plugin):
        return False
    if not meant and (other := slip_of(plugin, registry.plugins())):
        raise BadParameter(
            f"There is no plugin `{plugin}`, but `{other}` is similar. "
            f"To create `{plugin}` anyway, add --create-plugin."
        )
    return True


def _no_plugin(plugin: str, plugins: Iterable[str]) -> str:
    return _ask(f"There is no plugin `{plugin}`.", plugin, plugins)


def _ask(sentence: str, name: str, known: Iterable[str], *, likeness: float = LIKENESS) -> str:
    found = nearest(name, known, likeness=likeness)
    return sentence if found is None else f"{sentence} Did you mean `{found}`?"
