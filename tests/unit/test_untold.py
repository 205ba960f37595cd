"""A command shows what only it knows (a key's text, the id of what it made), or leaves nothing behind."""

from __future__ import annotations

import os
import time

import pytest
from dotenv import dotenv_values
from redis.backoff import NoBackoff

from relay.store.api_keys.keys import KEY_AGE_S
from relay.up import demo
from relay.up.datadir import DataDir
from tests.faulty_server import Fault, faulty_server
from tests.unit.cli import Cli, old_ring_text
from tests.unit.command_tree import arguments, make_site
from tests.unit.forked_command import start_command
from tests.unit.kept import Kept

#: Commands that make something whose text or id only they know.
MAKING = [
    ("keys", "create"),
    ("keys", "rotate"),
    ("trigger",),
    ("webhooks", "test"),
    ("webhooks", "rollback"),
    ("replay", "start"),
]
#: Changed options with which a command makes something new each time.
ANEW = {("webhooks", "rollback"): {"revision": ()}}


@pytest.fixture(scope="module")
def made(empty_server, tmp_path_factory):
    """A site, and what it consisted of before any test."""
    with empty_server.client() as client, pytest.MonkeyPatch.context() as patch:
        patch.setattr("relay.cli.vault.SETTLED_S", 0.0)
        patch.setattr("relay.store.server.connection.ExponentialBackoff", lambda cap, base: NoBackoff())
        site = make_site(Cli(empty_server.tcp_url, tmp_path_factory.mktemp("site")))
        yield site, Kept.of(client, site.cli.directory)


@pytest.fixture
def site(made):
    site, kept = made
    kept.put_back()
    yield site
    site.cli.close()


class Made:
    """Everything that commands can make and that exists now, by kind."""

    def __init__(self, site):
        runtime = site.cli.made[0] if site.cli.made else site.cli.runtime()
        names = [key.decode().split(":", 2)[2] for key in runtime.client.keys("relay:{*}:*")]
        keys = runtime.api_keys.list()
        self.key_ends = {key.id: key.expires_at_ms for key in keys if not key.revoked}
        self.ids = {
            kind: {name.split(":")[1] for name in names if name.startswith(kind)} for kind in ("inv:", "replay:")
        }
        self.revision = runtime.registry.last_revision("acme", "ping")


def new_key_is_told(before, after, result, *, away):
    """Check that every new key was shown; return whether there is one."""
    new = set(after.key_ends) - set(before.key_ends)
    changed = {key_id for key_id, end in before.key_ends.items() if after.key_ends.get(key_id) != end}
    for key_id in new:
        told = f"whk_{key_id}_" in result.stdout
        assert told if result.exit_code == 0 else away and f"`relay keys revoke {key_id}`" in result.stderr
    if result.exit_code:
        assert all(f"Key {key_id} may have been given an end." in result.stderr for key_id in changed)
    return bool(new)


def everything_is_told(before, after, result, *, away=False):
    """Check that everything new was shown; return whether there is anything."""
    news = new_key_is_told(before, after, result, away=away)
    for kind, ids in after.ids.items():
        for each in ids - before.ids[kind]:
            news = True
            assert each in result.output
    if after.revision != before.revision:
        news = True
        assert result.exit_code == 0 or f"revision {after.revision} is the new one" in result.stderr
    assert result.exit_code in {0, 1}
    return news


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
@pytest.mark.parametrize("path", MAKING, ids=" ".join)
def test_whatever_request_fails_what_a_command_made_is_told_or_not_there(site, path, fault):
    port = int(site.cli.url.rpartition(":")[2].removesuffix("/0"))
    line = arguments(site, path, **ANEW.get(path, {}))
    left = []
    with faulty_server(port) as server:
        faulty = Cli(server.url, site.cli.directory, site.cli.keys)
        faulty.run(*line)
        after = Made(site)
        for number in range(server.requests):
            before = after
            server.requests, server.at, server.fault = 0, number, fault
            result = faulty.run(*line)
            after = Made(site)
            left.append(everything_is_told(before, after, result, away=fault is Fault.LOST))
    if fault is Fault.LOST:
        assert any(left), "no reply was lost to what makes something"


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("path", [("keys", "create"), ("keys", "rotate")], ids=" ".join)
def test_a_key_whose_text_cannot_be_shown_is_revoked(site, path, form):
    before, errors = Made(site), site.cli.directory / "errors"
    errors.touch()
    environ = {**os.environ, **site.cli.environ}
    line = ["--data-dir", str(site.cli.directory), *arguments(site, path), "--output", form]
    process = start_command(line, environ, ["/dev/null", "/dev/full", str(errors)])
    process.join()
    assert process.exitcode == 1
    assert set(Made(site).key_ends) == set(before.key_ends)
    shown = errors.read_text()
    assert "could not be shown: the key is revoked." in shown
    assert (f"Key {site.key_id} still ends at 20" in shown) is (path == ("keys", "rotate"))


def test_of_a_demo_that_cannot_write_its_key_no_key_is_left(site, tmp_path):
    directory, keys = DataDir.make(tmp_path / "demo"), site.cli.runtime().api_keys
    in_the_way = directory.path / f"{demo.KEY_FILE}.partial"
    in_the_way.mkdir()
    before = Made(site)
    with pytest.raises(OSError, match="partial"):
        demo._key(site.cli.runtime(), directory)
    assert Made(site).key_ends == before.key_ends
    in_the_way.rmdir()
    for _ in range(2):
        text = demo._key(site.cli.runtime(), directory)
        assert set(Made(site).key_ends) - set(before.key_ends) == {keys.authenticate(text).id}
    keys.revoke(keys.authenticate(text).id)
    time.sleep(KEY_AGE_S)
    assert demo._key(site.cli.runtime(), directory) != text


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
@pytest.mark.parametrize("line", [("add",), ("promote",), ("retire", "--give-up-damaged")], ids=" ".join)
def test_whatever_request_fails_commands_know_the_keys_that_the_ring_has(site, line, fault):
    """Commands take the ring from relay.env, as `relay up` wrote it; values under a key missing there would be lost."""
    ring, saved = site.cli.directory / "data.keys", site.cli.directory / "relay.env"
    saved.touch(0o600)
    port = int(site.cli.url.rpartition(":")[2].removesuffix("/0"))
    written = []
    with faulty_server(port) as server:
        faulty = Cli(server.url, site.cli.directory, site.cli.keys)
        for number in range(-1, 200):
            ring.write_text(old_ring_text(2))
            before = ring.read_text()
            saved.write_text(f"RELAY_DATA_KEYS={before}\n")
            server.requests, server.at, server.fault = 0, number if number >= 0 else None, fault
            result = faulty.run("vault", *line, "--ring", "data")
            assert dotenv_values(saved)["RELAY_DATA_KEYS"].strip() == ring.read_text().strip()
            written.append(result.exit_code and ring.read_text() != before)
            if number >= server.requests:
                break
    assert number < 200
    assert any(written) or fault is Fault.REFUSED, "no failure came after the ring was written"
