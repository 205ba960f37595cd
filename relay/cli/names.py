"""Names that a command is given: whether they exist, and which one was probably meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.errors import BadParameter, NotFound, WebhookNotRegistered
from relay.text.similar import nearest, slip_of

#: Who calls besides API keys.
_OWN_CALLERS: Final = frozenset({"cli", "callback", "alert"})

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.cli.output import Screen
    from relay.registration import Shape
    from relay.runtime import Runtime
    from relay.store.listing import Filter
    from relay.store.registry import Registry


def check_plugin(runtime: Runtime, plugin: str) -> None:
    """Raise `BadParameter` for a plugin that does not exist and was never asked for anything."""
    plugins = runtime.registry.plugins()
    if plugin not in plugins and not runtime.listing.knows(plugin):
        raise BadParameter(_no_plugin(plugin, plugins))


def note_plugin(screen: Screen, runtime: Runtime, plugin: str) -> None:
    """Say beside an empty list that there is no such plugin."""
    plugins = runtime.registry.plugins()
    if plugin not in plugins:
        screen.note(_no_plugin(plugin, plugins))


def check_filter(runtime: Runtime, plugin: str, wanted: Filter) -> None:
    """Raise `BadParameter` for a filter whose plugin, webhook, key, chain or replay never was."""
    check_plugin(runtime, plugin)
    _check_ids(runtime, plugin, wanted)
    try:
        runtime.listing.check_webhook(plugin, wanted)
    except BadParameter as error:
        ids = [each.webhook_id for each in runtime.registry.shapes(plugin)]
        message = _ask(error.message, wanted.webhook_id or "", ids)
        raise BadParameter(message) from None


def _check_ids(runtime: Runtime, plugin: str, wanted: Filter) -> None:
    if wanted.caller is not None and wanted.caller not in _OWN_CALLERS:
        ids = [key.id for key in runtime.api_keys.list(None)]
        if wanted.caller not in ids:
            raise BadParameter(_ask(f"There is no API key `{wanted.caller}`.", wanted.caller, ids))
    if wanted.chain is not None and runtime.replays.unknown(plugin, [wanted.chain]):
        raise BadParameter(f"Plugin `{plugin}` has no invocation `{wanted.chain}`.")
    if wanted.replay is not None:
        try:
            runtime.replays.get(plugin, wanted.replay)
        except NotFound:
            raise BadParameter(f"Plugin `{plugin}` has no replay `{wanted.replay}`.") from None


def current_webhook(registry: Registry, plugin: str, webhook_id: str) -> tuple[int, Shape]:
    """Return the current revision's number and shape. Raises `WebhookNotRegistered`, with the name that was meant."""
    found = registry.current(plugin, webhook_id, refresh=True)
    if found is None:
        raise not_registered(registry, plugin, webhook_id)
    return found


def not_registered(registry: Registry, plugin: str, webhook_id: str) -> WebhookNotRegistered:
    """The error for a webhook that is not registered: which of the two names is wrong, and what was probably meant."""
    plugins = registry.plugins()
    if plugin not in plugins:
        return WebhookNotRegistered(_no_plugin(plugin, plugins))
    ids = [each.webhook_id for each in registry.shapes(plugin)]
    return WebhookNotRegistered(_ask(f"Plugin `{plugin}` has no webhook `{webhook_id}`.", webhook_id, ids))


def check_new_plugin(registry: Registry, plugin: str, *, meant: bool) -> bool:
    """Return whether a plugin does not exist yet. `BadParameter` where it looks like a slip, unless it is ``meant``."""
    plugins = registry.plugins()
    if plugin in plugins:
        return False
    if not meant and (other := slip_of(plugin, plugins)):
        raise BadParameter(
            f"There is no plugin `{plugin}`, and it looks like `{other}`. If it is meant, add --create-plugin."
        )
    return True


def _no_plugin(plugin: str, plugins: Iterable[str]) -> str:
    return _ask(f"There is no plugin `{plugin}`.", plugin, plugins)


def _ask(sentence: str, name: str, known: Iterable[str]) -> str:
    found = nearest(name, known)
    return sentence if found is None else f"{sentence} Did you mean `{found}`?"
