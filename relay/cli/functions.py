"""``relay functions``: the functions that the relay keeps on the servers of its store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from relay.audit.entry import Act
from relay.cli.command import acting, command_runtime
from relay.cli.parameters import data_dir
from relay.store.scripting.library import library
from relay.store.scripting.loading import load_functions
from relay.up.embedded import admin_url

if TYPE_CHECKING:
    from relay.cli.output import Screen


@click.group()
def functions() -> None:
    """Load the relay's functions into the servers of the store."""


@functions.command()
@acting(Act.FUNCTIONS_LOAD)
def load(screen: Screen) -> None:
    """Load this version's functions into the servers that lack them.

    Without them API and workers are not ready, and they may not load them themselves. Only the server's administrator
    may: name that user in RELAY_REDIS_URL (for a cluster, in RELAY_STORE_URL) for this command. Functions of other
    versions stay, so that two versions can run side by side. `relay up` does this itself on its embedded servers.
    """
    runtime = command_runtime()
    runtime.client  # noqa: B018 - a store with other partitions is refused first
    url = runtime.settings.store_url.reveal()
    count = load_functions(admin_url(data_dir(), url) or url)
    runtime.audit_writer.write(Act.FUNCTIONS_LOAD)
    name = library().name
    screen.tell({"library": name, "servers": count}, f"{name} was loaded into {count} servers.")
