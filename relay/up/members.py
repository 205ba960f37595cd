"""Makes one cluster of servers that are running already: ``python -m relay.up.members``.

It may be killed at any moment and started again: it continues where it stopped, and leaves a complete cluster as it is.
"""

from __future__ import annotations

import click

from relay.errors import RelayError
from relay.store.server.cluster import ClusterSeat, Forming
from relay.up.access import ADMINISTRATOR

#: How far the port of a server for the other servers is above its own port, by default.
_BUS = 10_000


@click.command()
@click.argument("servers", nargs=-1, required=True, envvar="SERVERS", metavar="HOST:PORT...")
@click.option("--replicas", type=click.IntRange(0, 10), envvar="REPLICAS", default=1, help="Of each primary.")
@click.option("--password", envvar="ADMIN_PASSWORD", required=True, help="Of the user `admin`.")
@click.option("--within", "within_s", type=float, default=600.0, help="Give up after this many seconds.")
def form(servers: tuple[str, ...], replicas: int, password: str, within_s: float) -> None:
    """Make one cluster of SERVERS: the primaries come first, then the replicas for each of them."""
    primaries, left = divmod(len(servers), 1 + replicas)
    if left or not primaries:
        raise click.UsageError(
            f"{len(servers)} servers are not a multiple of a primary and its replicas ({1 + replicas})."
        )
    seats = [_seat(server, password) for server in servers]
    try:
        Forming(seats, primaries).finish(lambda: True, within_s)
    except RelayError as error:
        raise click.ClickException(error.message) from None
    click.echo("The cluster serves, and every replica follows its primary.")


def _seat(server: str, password: str) -> ClusterSeat:
    host, _, port = server.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal():
        raise click.UsageError(f"{server} is not HOST:PORT.")
    return ClusterSeat(f"redis://{ADMINISTRATOR}:{password}@{server}/0", host, int(port), int(port) + _BUS)


if __name__ == "__main__":
    form()
