"""Completes plugins, webhooks, keys, replays and the newest reference ids in a shell; after an error, nothing."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Final

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import click

    from relay.wiring.runtime import Runtime

#: How many of a plugin's newest reference ids, or replay jobs, are offered.
NEWEST: Final = 20


def _completes(
    find: Callable[[Runtime, str | None], Iterable[CompletionItem]],
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Make a completion of the items that ``find`` returns for a plugin."""

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from relay.settings import Settings, default_plugin  # noqa: PLC0415
        from relay.store.server.availability import going_on_without  # noqa: PLC0415
        from relay.wiring.runtime import cli_runtime  # noqa: PLC0415 - only where something is completed

        try:
            data_dir = ctx.find_root().params["data_dir"]
            with closing(cli_runtime(Settings.for_command(data_dir))) as runtime, going_on_without():
                found = list(find(runtime, ctx.params.get("plugin") or default_plugin(data_dir)))
        except Exception:  # noqa: BLE001 - a shell that completes shows no errors
            return []
        return [item for item in found if str(item.value).startswith(incomplete)]

    return complete


def _plugins(runtime: Runtime, _plugin: str | None) -> list[CompletionItem]:
    return [CompletionItem(name) for name in runtime.registry.plugins()]


def _webhooks(runtime: Runtime, plugin: str | None) -> list[CompletionItem]:
    names = runtime.registry.plugins() if plugin is None else [plugin]
    found = [each for name in names for each in runtime.registry.shapes(name)]
    return [CompletionItem(each.shape.webhook_id, help=each.shape.description) for each in found]


def _secrets(runtime: Runtime, plugin: str | None) -> list[CompletionItem]:
    return [] if plugin is None else [CompletionItem(name) for name in runtime.registry.secrets.names(plugin)]


def _keys(runtime: Runtime, _plugin: str | None) -> list[CompletionItem]:
    keys = runtime.api_keys.list(None)
    return [CompletionItem(key.id, help=f"{key.plugin} {key.name}".rstrip()) for key in keys if not key.revoked]


def _references(runtime: Runtime, plugin: str | None) -> Iterable[CompletionItem]:
    from relay.store.ledger.listing import Filter  # noqa: PLC0415

    for name in runtime.registry.plugins() if plugin is None else [plugin]:
        for each in islice(runtime.listing.every(name, Filter()), NEWEST):
            yield CompletionItem(each.reference_id, help=f"{each.webhook_id} {each.state or 'damaged'}")


def _replays(runtime: Runtime, plugin: str | None) -> list[CompletionItem]:
    names = runtime.registry.plugins() if plugin is None else [plugin]
    jobs = [job for name in names for job in runtime.replays.list(name, limit=NEWEST)]
    return [CompletionItem(job.replay_id, help=str(job.state)) for job in jobs]


plugins_like: Final = _completes(_plugins)
webhooks_like: Final = _completes(_webhooks)
secrets_like: Final = _completes(_secrets)
keys_like: Final = _completes(_keys)
references_like: Final = _completes(_references)
replays_like: Final = _completes(_replays)
