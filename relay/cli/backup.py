"""``relay backup``: a backup of the running store."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.progress import DownloadColumn, SpinnerColumn, TextColumn, TransferSpeedColumn

from relay.audit.entry import Act
from relay.backup.taking import Taking
from relay.cli.command import command_runtime
from relay.cli.output import Screen, facts_of, screened
from relay.cli.parameters import data_dir
from relay.cli.progress import progress_with
from relay.errors import Conflict
from relay.settings import Secret, Settings
from relay.settings.names import AUDIT_KEY, DATA_KEYS, TARGET_KEYS
from relay.store.server.connection import connect
from relay.up.datadir import SECRET_FILES
from relay.up.embedded import admin_url

if TYPE_CHECKING:
    from relay.wiring.runtime import Runtime


#: What no backup holds, and a restore needs.
_KEPT_ELSEWHERE: Final = (DATA_KEYS, TARGET_KEYS, AUDIT_KEY)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@screened
def backup(screen: Screen, directory: Path) -> None:
    """Write a backup of the store while the relay runs. DIRECTORY must be empty.

    It needs a server user with the rights of a replica, and a server program here, which reads each file once. Key
    rings and passwords are not in the backup: the manifest says where they are. docs/backup.md has the whole drill.
    """
    runtime = command_runtime()
    epoch = runtime.epochs.read()
    if epoch.is_fenced:
        raise Conflict("The store is being restored: finish that first, with `relay restore finish`.")
    with (
        runtime.audit_writer.writing(Act.BACKUP),
        closing(connect(administered(runtime.settings))) as client,
        Taking(client, runtime.keyspace, directory) as taking,
    ):
        columns = (SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
        with progress_with(*columns) as progress:
            bar = progress.add_task("reading the servers", total=None)
            for size_bytes in taking.steps():
                progress.advance(bar, size_bytes)
            progress.update(bar, description="checking the files")
            elsewhere = _elsewhere(runtime.settings)
            manifest = taking.finish(runtime.data_vault, epoch.number, elsewhere, held_keys(runtime))
    said = {
        "backup": manifest.backup,
        "directory": str(directory),
        "bytes": sum(file.size_bytes for file in manifest.files),
        **asdict(manifest.counts),
        "elsewhere": dict(manifest.elsewhere),
    }
    screen.show(said, lambda: facts_of([*list(said.items())[:-1], *manifest.elsewhere.items()]))
    screen.note("Key rings and passwords are not in the backup: keep them in another place. See `elsewhere`.")


def administered(settings: Settings) -> Settings:
    """Return the settings with the administrator's address of the servers of a `relay up`, if these are its."""
    url = settings.store_url.reveal()
    return replace(settings, store_url=Secret(admin_url(data_dir(), url) or url))


def held_keys(runtime: Runtime) -> dict[str, tuple[str, ...]]:
    """Return the ids of the keys of each ring that open values, by the ring's setting."""
    target = runtime.target_vault
    return {DATA_KEYS: runtime.data_vault.key_ids, TARGET_KEYS: target.key_ids if target else ()}


def _elsewhere(settings: Settings) -> dict[str, str]:
    """Say where the key rings, the audit key and passwords are."""
    found = {}
    for name in _KEPT_ELSEWHERE:
        file = settings.files.get(name) or (data_dir() / SECRET_FILES[name]).resolve()
        found[name] = str(file) if file.exists() else f"the environment ({name})"
    passwords = (data_dir() / "passwords").resolve()
    found["passwords of server users"] = str(passwords) if passwords.exists() else "with the servers"
    return found
