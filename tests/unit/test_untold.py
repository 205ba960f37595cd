"""A command shows what only it knows (a key's text, the id of what it made), or leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from dotenv import dotenv_values
from redis.backoff import NoBackoff

from relay.store.api_keys.keys import KEY_AGE_S
from relay.up import demo
from relay.up.datadir import DataDir
from tests.faulty_server import Fault, faulty_server
from tests.unit.cli import Cli, old_ring_text
from tests.unit.command_tree import GOOD, arguments, make_site
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
#: Commands that come to show no result here (a wrong value, an unfinished call), or that have tests of their own.
_APART = {
    *{("doctor",), ("restore",), ("partitions", "divide"), ("functions", "load"), ("invocations", "forget")},
    *{("keys", "create"), ("keys", "rotate"), ("webhooks", "set-secret"), ("secrets", "set")},
}
SHOWING = [(path, "/dev/full", "json") for path in GOOD if path not in _APART]
#: Those that show lines, tables or facts, also with a closed output.
SHOWING += [(path, "", "table") for path in GOOD if path[-1] in {"trigger", "test", "export", "list", "tail", "backup"}]
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


def untold(site, output, *line):
    """Run a command whose output goes to this file, or is closed; return its exit status and what it says of it."""
    errors = site.cli.directory / "errors"
    errors.write_bytes(b"")
    environ = {**os.environ, **site.cli.environ}
    process = start_command(["--data-dir", str(site.cli.directory), *line], environ, ["/dev/null", output, str(errors)])
    process.join()
    return process.exitcode, errors.read_text()


@pytest.mark.parametrize("output", ["/dev/full", ""], ids=["full", "closed"])
@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("path", [("keys", "create"), ("keys", "rotate")], ids=" ".join)
def test_a_key_whose_text_cannot_be_shown_is_revoked(site, path, form, output):
    before = Made(site)
    code, shown = untold(site, output, *arguments(site, path), "--output", form)
    assert code == 1
    assert set(Made(site).key_ends) == set(before.key_ends)
    assert "could not be shown: the key is revoked." in shown
    assert (f"Key {site.key_id} still ends at 20" in shown) is (path == ("keys", "rotate"))


@pytest.mark.parametrize(("path", "output", "form"), SHOWING, ids=str)
def test_a_result_that_cannot_be_shown_is_said_to_be_and_what_was_made_is_named(site, path, output, form):
    before = Made(site)
    code, shown = untold(site, output, *arguments(site, path), "--output", form)
    said = {"/dev/full": "No space left on device", "": "Bad file descriptor"}[output]
    assert code == 1
    assert shown.startswith(f"Error: The output cannot be written: {said}.")
    assert "Traceback" not in shown
    for kind, ids in Made(site).ids.items():
        assert all(each in shown for each in ids - before.ids[kind])
    assert ("What the command was to do is done" in shown) is (path[-1] not in {"export", "tail"})


@pytest.mark.parametrize("line", [("--version",), ("--help",), *((*path, "--help") for path in GOOD)], ids=" ".join)
def test_help_that_cannot_be_shown_is_said_to_be(site, line):
    assert untold(site, "/dev/full", *line) == (1, "Error: The output cannot be written: No space left on device.\n")


@pytest.mark.parametrize("form", ["table", "json"])
def test_what_a_call_s_gone_reader_would_have_read_is_said_and_the_end_of_a_list_is_not(site, form):
    before = Made(site)
    for path in (("trigger",), ("invocations", "list")):
        reader, writer = os.pipe()
        os.close(reader)
        line = [
            sys.executable,
            "-c",
            "from relay.cli import main; main()",
            "--data-dir",
            str(site.cli.directory),
            *arguments(site, path),
            "--output",
            form,
        ]
        done = subprocess.run(
            line, stdout=writer, stderr=subprocess.PIPE, env={**os.environ, **site.cli.environ}, text=True, check=False
        )
        os.close(writer)
        assert done.returncode == 1
        if path == ("trigger",):
            (made,) = Made(site).ids["inv:"] - before.ids["inv:"]
            assert done.stderr.startswith("Error: The output cannot be written: Broken pipe.")
            assert done.stderr.endswith(f"run the command again. Reference id: {made}\n")
        else:
            assert done.stderr == ""


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_disk_that_fills_up_within_a_result_is_told_without_python_s_buffer_too(tmp_path, form):
    half = 4096
    limited = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({half}, {half}))"
    with (tmp_path / "shown").open("w") as output:
        done = subprocess.run(
            [sys.executable, "-c", f"{limited}; from relay.cli import main; main()", "settings", "--output", form],
            stdout=output,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            text=True,
            check=False,
        )
    assert (tmp_path / "shown").stat().st_size == half
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The output cannot be written: File too large.")


@pytest.mark.parametrize("output", ["/dev/full", ""], ids=["full", "closed"])
def test_an_error_that_programs_cannot_be_told_is_told_to_people(site, output):
    code, shown = untold(site, output, "webhooks", "show", "nope", "--plugin", "acme", "--output", "json")
    assert (code, shown.count("\n"), shown.startswith("Error: ")) == (1, 1, True)


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


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("webhooks", "apply", "-"), "holds no webhook"),
        (("secrets", "set", "KEY"), "The value is empty"),
        (("replay", "start", "--from-file", "-"), "has no reference ids"),
    ],
    ids=["a document", "a secret", "ids"],
)
def test_a_closed_standard_input_is_as_good_as_an_empty_one(site, line, said):
    command = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "relay"]
    command += ["--data-dir", str(site.cli.directory), *line, "--plugin", "acme"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **site.cli.environ}, text=True, check=False)
    assert (done.returncode, said in done.stderr) in {(1, True), (2, True)}
    assert "Traceback" not in done.stderr
