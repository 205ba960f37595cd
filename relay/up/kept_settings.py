"""Finds the settings that a start takes over from the last one: those in ``relay.env`` that the environment lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.settings import FILE_SUFFIX, Settings
from relay.settings.environ import derived_addresses, not_given, read_env_file
from relay.settings.kinds import as_text
from relay.settings.names import ADDRESSES, API_URL, EGRESS_ALLOW, FLOWER_URL, STORE_REPLICAS
from relay.text.hosts import LOOPBACK
from relay.text.server_addresses import is_cluster, places_in
from relay.up.cluster import REPLICAS
from relay.up.datadir import SECRET_FILES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.up.datadir import DataDir

#: Settings that every start sets anew, from its own options.
_DECIDED: Final = (API_URL, FLOWER_URL)


def kept_settings(directory: DataDir, given: Mapping[str, str]) -> dict[str, str]:
    """Return the last start's settings that are neither defaults nor its own choices, and that ``given`` lacks."""
    saved = read_env_file(directory.env_file)
    if EGRESS_ALLOW in saved:
        saved[EGRESS_ALLOW] = _without_demo(saved[EGRESS_ALLOW], directory)
    own = {*_DECIDED, *derived_addresses(saved), *_own_files(directory)}
    embedded = {name for name in ADDRESSES if _is_embedded(saved.get(name, ""), directory)}
    own |= embedded
    if any(is_cluster(saved[name]) for name in embedded) and saved.get(STORE_REPLICAS) == str(REPLICAS):
        own.add(STORE_REPLICAS)
    left = not_given(saved, given)
    return {name: text for name, text in left.items() if name not in own and _differs_from_default(name, text)}


def without_embedded(given: Mapping[str, str], directory: DataDir) -> dict[str, str]:
    """Return variables without the addresses of the directory's embedded servers, which a shell has from relay.env."""
    return {name: text for name, text in given.items() if name not in ADDRESSES or not _is_embedded(text, directory)}


def settings_in_words(kept: Mapping[str, str]) -> Iterator[str]:
    """Yield ``NAME=value`` of each setting, for people; of a secret, only its name."""
    secret = {about.name for _, about in Settings.described() if about.secret}
    for name, text in sorted(kept.items()):
        hidden = name in secret or name.removesuffix(FILE_SUFFIX) in secret
        yield name if hidden else f"{name}={text}"


def _differs_from_default(name: str, text: str) -> bool:
    """Return whether this is a setting with a value other than its default."""
    by_name = {about.name: about for _, about in Settings.described()}
    about = by_name.get(name.removesuffix(FILE_SUFFIX))
    if about is None or not text:
        return False
    return about.default is None or text != as_text(about.read(about.default))


def _own_files(directory: DataDir) -> Iterator[str]:
    return (name for name, file in SECRET_FILES.items() if (directory.path / file).exists())


def _is_embedded(address: str, directory: DataDir) -> bool:
    """Return whether an address is that of an embedded server: it has one of its passwords, or only its ports.

    The password says so of an address from before the server's port changed, the port if the password's file is gone.
    """
    if any(f":{password}@" in address for password in directory.passwords()):
        return True
    try:
        places = places_in(address)
    except ValueError:
        return False
    return {host for host, _ in places} == {LOOPBACK} and {port for _, port in places} <= directory.saved_ports()


def _without_demo(allowed: str, directory: DataDir) -> str:
    """Return the allowed addresses without that of the demo's endpoint, which only `--demo` adds."""
    demo = f"{LOOPBACK}:{directory.saved_port('demo')}"
    return ",".join(entry for entry in allowed.split(",") if entry != demo)
