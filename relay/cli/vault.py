"""``relay vault``: rotates the key rings without interrupting calls."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from relay.audit.entry import Act
from relay.cli.command import command_runtime, refusals
from relay.cli.output import EXIT_FAILED, Screen, screened, table_of
from relay.cli.parameters import data_dir
from relay.cli.progress import counting
from relay.cli.ring_tables import ring_line, ring_rows, say_damaged
from relay.domain.invocation import IDEMPOTENCY_MS
from relay.errors import Conflict, NotFound, SettingsError
from relay.rotation.resealing import Damaged, KeyUses, Resealing
from relay.rotation.ring_file import RingFile
from relay.settings import Settings
from relay.settings.environ import ENV_FILE, read_env_file
from relay.settings.names import DATA_KEYS, TARGET_KEYS
from relay.store.rings.log import note_retired, retired_ms_ago
from relay.store.rings.sealed_values import SealedValues
from relay.text.similar import hint
from relay.up.datadir import RING_FILES, DataDir
from relay.vault import FILE_AGE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.wiring.runtime import Runtime

#: After this many seconds, every process that follows a key file has read it again.
SETTLED_S: Final = 3 * FILE_AGE_S
_VARIABLES: Final = {"target": TARGET_KEYS, "data": DATA_KEYS}
_COLUMNS: Final = ("ring", "key", "role", "sealed under it")
_RING = click.option(
    "--ring", "names", type=click.Choice(tuple(_VARIABLES)), multiple=True, help="Only this ring [default: both]."
)
_GIVE_UP = click.option(
    "--give-up-damaged",
    "give_up",
    is_flag=True,
    help="Retire even if some values open with no key, or decisions fail verification: these are lost.",
)


@click.group()
def vault() -> None:
    """Rotate keys while calls continue. `add` a key, `promote` it, `reseal` everything, `retire` the old key."""


@vault.command()
@_RING
@screened
def status(screen: Screen, names: tuple[str, ...]) -> None:
    """Show the keys of each ring and how much each seals."""
    runtime, rings = _opened(names, Act.VAULT_STATUS)
    runtime.audit_writer.write(Act.VAULT_STATUS)
    uses, complete = _resealing(runtime, rings).uses_found()
    rows = [row for ring in rings for row in ring_rows(ring, uses)]
    screen.show(rows, lambda: table_of(_COLUMNS, (ring_line(row) for row in rows)))
    say_damaged(screen, uses.damaged)
    if not complete:
        screen.note(f"{runtime.partitions.silence().sentence} What is sealed there is not counted.")
        raise click.exceptions.Exit(EXIT_FAILED)


@vault.command()
@_RING
@screened
def add(screen: Screen, names: tuple[str, ...]) -> None:
    """Add a new key, which opens values but seals none yet."""
    _lock(names, Act.VAULT_ADD)
    added = _add(names)
    note = "Copy the key files to every other machine (or restart its processes), then: relay vault promote"
    screen.tell(added, *_lines("added", added), note)


@vault.command()
@_RING
@screened
def promote(screen: Screen, names: tuple[str, ...]) -> None:
    """Seal with the newest key from now on."""
    _lock(names, Act.VAULT_PROMOTE)
    promoted, is_new = _promote(names)
    then = "Then: relay vault reseal" if is_new else "Nothing new to promote: relay vault add makes a key."
    screen.tell(promoted, *_lines("seals with", promoted), then)


@vault.command()
@_RING
@screened
def reseal(screen: Screen, names: tuple[str, ...]) -> None:
    """Reseal everything with the newest keys. Can be interrupted and run again."""
    _lock(names, Act.VAULT_RESEAL)
    done, damaged = _reseal(names)
    told = ", ".join(f"{count} {word}" for word, count in done.items())
    screen.tell(done, f"Values: {told}", "Then: relay vault retire")
    say_damaged(screen, damaged)


@vault.command()
@click.argument("key_id", required=False, metavar="[KEY]")
@_RING
@_GIVE_UP
@screened
def retire(screen: Screen, key_id: str | None, names: tuple[str, ...], *, give_up: bool) -> None:
    """Remove old keys from the rings, or KEY alone. Refused while anything is still sealed under one, or damaged."""
    _lock(names, Act.VAULT_RETIRE)
    retired = _retire(names, key_id, give_up=give_up)
    lines = [f"{each['ring']}: {each['key']} is retired" for each in retired]
    screen.tell(retired, *(lines or ["Nothing to retire: there is no old key."]))


@vault.command()
@_RING
@screened
def rotate(screen: Screen, names: tuple[str, ...]) -> None:
    """Add, promote, reseal and retire in one go. Every process has to read the key files of this machine.

    If other machines have copies of them, run the four steps one by one. If the command is interrupted, continue with
    the step at which it stopped.
    """
    _lock(names, Act.VAULT_ADD)
    _add(names)
    promoted, _ = _promote(names)
    done, damaged = _reseal(names)
    say_damaged(screen, damaged)
    retired = _retire(names)
    value = {"promoted": promoted, **done, "retired": retired}
    counts = f"{done['resealed']} values resealed, {len(retired)} old keys retired"
    screen.tell(value, *_lines("seals with", promoted), counts)


def _lock(names: tuple[str, ...], act: Act) -> None:
    """Lock the rings until the command ends; raise `Conflict` while another command changes rings beside them."""
    with refusals(act, subject="+".join(names)):
        settings = Settings.for_command(data_dir())
        for folder in sorted({_ring(name, settings).path.resolve().parent for name in names or _VARIABLES}):
            click.get_current_context().with_resource(DataDir(folder).lock_rings())


def _add(names: tuple[str, ...]) -> dict[str, str]:
    """Add a key to each ring; return its id by ring."""
    runtime, rings = _opened(names, Act.VAULT_ADD)
    added: dict[str, str] = {}
    for ring in rings:
        with runtime.audit_writer.writing(Act.VAULT_ADD, subject=ring.name), _in_step(ring):
            added[ring.name] = ring.add()
    return added


def _promote(names: tuple[str, ...]) -> tuple[dict[str, str], bool]:
    """Promote the newest keys; return the id of the key that seals now, by ring, and whether any is a new one."""
    runtime, rings = _opened(names, Act.VAULT_PROMOTE)
    promoted: dict[str, str] = {}
    is_new = False
    for ring in rings:
        newest = ring.newest_id()
        _wait_until_known(ring)
        if newest != ring.key_ids()[0]:
            is_new = True
            subject = f"{ring.name}:{newest}"
            with runtime.audit_writer.writing(Act.VAULT_PROMOTE, subject=subject), _in_step(ring):
                ring.promote(newest)
        promoted[ring.name] = newest
    return promoted, is_new


def _reseal(names: tuple[str, ...]) -> tuple[dict[str, int], Damaged]:
    """Seal values anew; return how many were resealed, were current and do not open, and those that do not open."""
    runtime, rings = _opened(names, Act.VAULT_RESEAL)
    for ring in rings:
        _wait_until_known(ring)
    resealing = _resealing(runtime, rings)
    with counting("resealing") as progress:
        bar = progress.add_task("", total=None)
        with runtime.audit_writer.writing(Act.VAULT_RESEAL, subject="+".join(ring.name for ring in rings)):
            done, damaged = resealing.run(lambda: progress.advance(bar))
    return {**done, "unreadable": damaged.counts.total()}, damaged


def _retire(names: tuple[str, ...], key_id: str | None = None, *, give_up: bool = False) -> list[dict[str, str]]:
    """Take old keys out of their rings; return them, each with its ring.

    Raises `Conflict` if some of them are still needed; the others have been taken out by then.
    """
    runtime, rings = _opened(names, Act.VAULT_RETIRE)
    if key_id is not None:
        with refusals(Act.VAULT_RETIRE, subject=key_id):
            _check_old(rings, key_id)
        rings = [ring for ring in rings if key_id in ring.key_ids()]
    for ring in rings:
        _wait_until_known(ring)
    uses = _resealing(runtime, rings).uses()
    retired: list[dict[str, str]] = []
    refused: list[str] = []
    for ring in rings:
        try:
            with refusals(Act.VAULT_RETIRE, subject=ring.name):
                _give_up_old_macs(ring, runtime, give_up=give_up)
        except Conflict as error:
            refused.append(error.message)
            continue
        for old in (each for each in ring.key_ids()[1:] if key_id in (None, each)):
            try:
                writing = runtime.audit_writer.writing(Act.VAULT_RETIRE, subject=f"{ring.name}:{old}")
                with writing, _in_step(ring):
                    _refuse_needed(ring, old, uses, give_up=give_up)
                    # First: if the store is away, the command can be given again.
                    note_retired(runtime.client, ring.name, old)
                    ring.retire(old, keep_mac=ring.name == "data")
                retired.append({"ring": ring.name, "key": old})
            except Conflict as error:
                refused.append(error.message)
    if refused:
        raise Conflict(
            " ".join([*refused, *(f"Retired: {each['key']} of the {each['ring']} ring." for each in retired)])
        )
    return retired


def _opened(names: tuple[str, ...], act: Act) -> tuple[Runtime, list[RingFile]]:
    with refusals(act, subject="+".join(names)):
        runtime = command_runtime()
        return runtime, [_ring(name, runtime.settings) for name in names or _VARIABLES]


def _check_old(rings: list[RingFile], key_id: str) -> None:
    """Raise `Conflict` for a key that seals, and `NotFound` for one that is in no ring: others may be retired."""
    if any(key_id == ring.key_ids()[0] for ring in rings):
        raise Conflict(f"{key_id} still seals: add and promote another key first.")
    old = [each for ring in rings for each in ring.key_ids()[1:]]
    if key_id not in old:
        raise NotFound(f"No ring has an old key `{key_id}`{hint(key_id, old)}: see relay vault status.")


def _ring(name: str, settings: Settings) -> RingFile:
    """Return the file of a ring: the one that its setting names, otherwise that in the data directory."""
    path = settings.files.get(_VARIABLES[name], data_dir() / RING_FILES[_VARIABLES[name]])
    if not path.exists():
        raise SettingsError(
            f"The {name} ring is in the environment: put it into a file (mode 0600) and name that in"
            f" {_VARIABLES[name]}_FILE, for every process; then it can be rotated while they run."
        )
    return RingFile(name, path)


def _resealing(runtime: Runtime, rings: list[RingFile]) -> Resealing:
    vaults = {"data": runtime.data_vault} | ({"target": runtime.target_vault} if runtime.target_vault else {})
    vaults |= {ring.name: ring.vault() for ring in rings}
    return Resealing(SealedValues(runtime.client), vaults, runtime.decisions)


def _wait_until_known(ring: RingFile) -> None:
    """Wait until every process that follows the ring's file must have read it."""
    age_s = time.time() - ring.path.stat().st_mtime
    time.sleep(min(max(0.0, SETTLED_S - age_s), SETTLED_S))


def _refuse_needed(ring: RingFile, key_id: str, uses: KeyUses, *, give_up: bool) -> None:
    count, damaged = uses.counts[ring.name][key_id], uses.damaged.of(ring.name)
    if count:
        raise Conflict(f"{count} values are still sealed under {key_id} of the {ring.name} ring: relay vault reseal.")
    if damaged and not give_up:
        raise Conflict(
            f"Values of the {ring.name} ring that do not open: {damaged}. They may need {key_id}: `relay vault status`"
            " names them. If they are lost anyway: relay vault retire --give-up-damaged."
        )


def _give_up_old_macs(ring: RingFile, runtime: Runtime, *, give_up: bool) -> None:
    """Make the MACs of decisions with the newest key; drop old ones' parts for MACs that no Idempotency-Key needs.

    Raises `Conflict` if decisions fail verification, unless these are given up.
    """
    if ring.name != "data" or not (give_up or ring.key_ids()[1:] or ring.retired_ids()):
        return
    runtime.decisions.reseal(give_up=give_up)  # even after `relay vault reseal`: a process may have been behind
    for key_id in ring.retired_ids():
        if retired_ms_ago(runtime.client, ring.name, key_id) > IDEMPOTENCY_MS:
            ring.retire(key_id, keep_mac=False)


@contextmanager
def _in_step(ring: RingFile) -> Iterator[None]:
    """Write the ring to ``relay.env``, from which commands take their settings, even if an error is raised inside."""
    try:
        yield
    finally:
        saved = read_env_file(data_dir() / ENV_FILE)
        if saved.get(_VARIABLES[ring.name]):
            DataDir(data_dir()).write_environ({**saved, _VARIABLES[ring.name]: ring.text()})


def _lines(verb: str, values: dict[str, Any]) -> list[str]:
    return [f"{name}: {verb} {value}" for name, value in values.items()]
