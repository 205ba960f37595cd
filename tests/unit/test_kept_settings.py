"""Which settings the next `relay up` takes over from relay.env, and which it does not."""

from __future__ import annotations

import pytest

from relay.audit.signing_keys import AuditSigner, new_private_text
from relay.errors import SettingsError
from relay.settings import Settings
from relay.settings.environ import read_env_file
from relay.up.datadir import DataDir, new_flower_auth
from relay.up.kept_settings import kept_settings, settings_in_words
from relay.up.local import LaunchPlan, LocalRelay
from relay.vault import Vault

OTHER = "redis://:other-password@127.0.0.1:7777/0"
#: A value, other than the default, for every setting that a start may keep.
VALUES = {
    "RELAY_EGRESS_ALLOW": "127.0.0.1:9900,10.0.0.0/8",
    "RELAY_EGRESS_DENY": "example.org",
    "RELAY_EGRESS_PORTS": "8443",
    "RELAY_EXTRA_SUFFIXES": "test",
    "RELAY_DEFAULT_WAIT": "7",
    "RELAY_MAX_IN_FLIGHT": "32",
    "RELAY_RETENTION": "172800",
    "RELAY_PLUGIN_RATE": "5/s",
    "RELAY_LOG_LEVEL": "warning",
}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Prepare a start with only these variables; return what it takes over, and what it runs with."""
    for name in VALUES:
        monkeypatch.delenv(name, raising=False)

    def prepare(*, demo=False, **environ):
        with monkeypatch.context() as patch:
            for name, text in environ.items():
                patch.setenv(name, text)
            relay = LocalRelay.prepare(tmp_path / "d", LaunchPlan(port=0, flower_port=0, demo=demo))
        relay.lock.close()
        return relay

    return prepare


@pytest.mark.parametrize("name", VALUES)
def test_each_setting_of_the_last_start_is_kept_named_and_given_way_to_a_new_one(start, name):
    start(**{name: VALUES[name]})
    for _ in range(2):  # the second start after it has it, too
        again = start()
        assert again.kept_settings == {name: VALUES[name]}
        assert again.settings.to_environ()[name] == VALUES[name]
    assert list(settings_in_words(again.kept_settings)) == [f"{name}={VALUES[name]}"]
    dropped = start(**{name: ""})
    assert dropped.kept_settings == {}
    assert dropped.settings.to_environ().get(name) != VALUES[name]
    assert start().kept_settings == {}


MALFORMED = {
    "RELAY_EGRESS_ALLOW": ("not/a/net", "x y", "10.0.0.0/33", "a.example:99999", "10.0.0.1,/x"),
    "RELAY_EGRESS_DENY": ("not/a/net", "http://a.example", "[::1"),
    "RELAY_EGRESS_PORTS": ("0", "http", "70000"),
    "RELAY_TARGET_KEYS": ("garbage", "a:b", "a:AAAA", ","),
    "RELAY_DATA_KEYS": ("garbage", "a:b", "a:AAAA", ","),
    "RELAY_AUDIT_KEY": ("garbage", "a:b", ","),
    "RELAY_CA_FILE": ("/nonexistent/ca.pem",),
    "RELAY_RETENTION": ("soon", "-1"),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in MALFORMED.items() for text in texts])
def test_a_malformed_setting_is_refused_by_name_before_anything_starts_and_is_not_kept(start, tmp_path, name, text):
    told = refused(start, name, text)
    assert name in told
    assert text == "," or text not in told
    assert not (tmp_path / "d" / "relay.env").exists()
    start()
    assert refused(start, name, text) == told
    assert start().kept_settings == {}


def refused(start, name, text):
    """Return the refusal's message, without the exception, which would hold the directory's lock."""
    try:
        start(**{name: text})
    except SettingsError as error:
        return "\n".join([error.message, *map(str, error.faults)])
    raise AssertionError(f"{name} was taken")


def test_what_a_start_decides_for_itself_is_not_kept(start):
    start(demo=True)
    again = start()
    assert again.kept_settings == {}
    assert "RELAY_EGRESS_ALLOW" not in again.settings.to_environ(), "the demo's exception is for the demo"
    assert again.servers.single is not None


def test_a_redis_of_ones_own_is_kept_and_given_up_by_an_empty_address(start):
    start(RELAY_REDIS_URL=OTHER)
    again = start()
    assert (again.kept_settings, again.servers.single) == ({"RELAY_REDIS_URL": OTHER}, None)
    assert again.settings.store_url.reveal() == OTHER
    assert list(settings_in_words(again.kept_settings)) == ["RELAY_REDIS_URL"], "it holds a password"
    assert start(RELAY_REDIS_URL="").servers.single is not None
    assert start().kept_settings == {}


@pytest.mark.parametrize("file", ["passwords/operator", "passwords/admin"])
def test_a_password_whose_file_is_gone_is_made_anew_and_one_that_is_empty_is_named(start, file):
    first = start().directory
    before = (first.path / file).read_text()
    (first.path / file).unlink()
    again = start()
    assert (again.kept_settings, again.servers.single is not None) == ({}, True)
    assert (first.path / file).read_text() != before
    first.write(file, "")
    assert refused(start, "RELAY_LOG_LEVEL", "info") == (
        f"{file} in the data directory is empty: delete it, and a start makes it anew."
    )


def test_the_address_of_an_earlier_start_is_its_own_however_its_port_and_password_changed(start):
    first = start()
    address = first.settings.store_url.reveal()
    first.directory.write("valkey.port", "")
    assert start(RELAY_REDIS_URL=address).kept_settings == {}
    assert start(RELAY_REDIS_URL=address).servers.single is not None


def test_a_cluster_of_ones_own_with_a_port_that_an_embedded_server_had_is_kept(start):
    port = start().servers.single.port
    own = {"RELAY_REDIS_URL": f"redis+cluster://127.0.0.1:{port},127.0.0.1:7777", "RELAY_BROKER_URL": OTHER}
    start(**own)
    assert (start().kept_settings, start().servers.single) == (own, None)


@pytest.mark.parametrize("damaged", [b"\xff\n", b"", b"-1", b"99999999", b"\xd9\xa3"])
def test_a_port_that_cannot_be_read_is_chosen_anew(start, damaged):
    directory = start(demo=True).directory
    for name in ("valkey", "demo"):
        (directory.path / f"{name}.port").write_bytes(damaged)
    again = start(demo=True)
    assert again.servers.single is not None
    assert {name: int((directory.path / f"{name}.port").read_text()) for name in ("valkey", "demo")} == {
        "valkey": again.servers.single.port,
        "demo": again.demo_port,
    }


def test_a_number_of_replicas_is_kept_with_a_redis_of_ones_own_and_not_with_an_embedded_cluster(start):
    own = {"RELAY_REDIS_URL": OTHER, "RELAY_STORE_REPLICAS": "1"}
    start(**own)
    assert start().kept_settings == own
    assert start(RELAY_REDIS_URL="").kept_settings == {"RELAY_STORE_REPLICAS": "1"}


@pytest.mark.parametrize(
    ("file", "name"),
    [("target.keys", "RELAY_TARGET_KEYS"), ("data.keys", "RELAY_DATA_KEYS"), ("audit.key", "RELAY_AUDIT_KEY")],
)
def test_a_key_file_that_was_altered_is_named_before_anything_is_written(start, file, name):
    directory = start().directory
    before = directory.env_file.read_text()
    directory.write(file, "planted")
    said = refused(start, "RELAY_LOG_LEVEL", "warning")
    assert said.startswith(f"{name}: ")
    assert "planted" not in said
    assert directory.env_file.read_text() == before


def test_the_name_of_an_operator_is_not_written_down_for_others(start):
    relay = start(RELAY_OPERATOR="ann")
    assert relay.settings.operator == "ann"
    assert "RELAY_OPERATOR" not in relay.directory.env_file.read_text()
    signer = AuditSigner(relay.settings.audit_key.reveal())
    assert (relay.directory.path / "audit.pub").read_text() == signer.public.text()


def test_keys_of_the_environment_are_kept_where_there_are_no_files_for_them(start):
    first = start(RELAY_TARGET_KEYS="k1:" + "A" * 43 + "=", RELAY_DATA_KEYS="k2:" + "A" * 43 + "=")
    again = start()
    assert again.settings.target_keys == first.settings.target_keys
    assert list(settings_in_words(again.kept_settings)) == ["RELAY_DATA_KEYS", "RELAY_TARGET_KEYS"]


@pytest.mark.parametrize(
    ("name", "member", "make"),
    [
        ("RELAY_TARGET_KEYS", "target_keys", Vault.new_key_text),
        ("RELAY_DATA_KEYS", "data_keys", Vault.new_key_text),
        ("RELAY_AUDIT_KEY", "audit_key", new_private_text),
        ("RELAY_FLOWER_AUTH", "flower_auth", new_flower_auth),
    ],
)
def test_a_secret_in_a_file_of_ones_own_is_used_and_none_is_made(start, tmp_path, name, member, make):
    own, text = tmp_path / "own", make()
    own.touch(mode=0o600)
    own.write_text(text)
    assert getattr(start(**{f"{name}_FILE": str(own)}).settings, member).reveal() == text


def rings_of_a_child(relay, monkeypatch, **environ):
    """Return the settings that a worker reads which is started from this environment."""
    with monkeypatch.context() as patch:
        for name, text in environ.items():
            patch.setenv(name, text)
        children = {process.name: relay._child(process) for process in relay.processes()}
    return Settings.from_environ(children["worker_interactive"]._environ)


@pytest.mark.parametrize("name", ["RELAY_TARGET_KEYS", "RELAY_DATA_KEYS"])
def test_processes_follow_a_ring_s_file_also_if_the_environment_has_the_same_ring(start, monkeypatch, name):
    file = start().directory.path / f"{name.split('_')[1].lower()}.keys"
    for text in (file.read_text(), file.read_text().strip()):
        found = rings_of_a_child(start(**{name: text}), monkeypatch, **{name: text})
        assert found.files[name] == file


@pytest.mark.parametrize("name", ["RELAY_TARGET_KEYS", "RELAY_DATA_KEYS"])
def test_another_ring_in_the_environment_than_in_the_data_directory_is_refused(start, name):
    file = start().directory.env_file
    before = file.read_text()
    said = refused(start, name, Vault.new_key_text())
    assert said.startswith(f"{name} is not the ring in ")
    assert file.read_text() == before


def test_a_shell_that_has_sourced_relay_env_starts_the_same_relay(start, monkeypatch):
    first = start(RELAY_LOG_LEVEL="warning")
    sourced = read_env_file(first.directory.env_file)
    again = start(**sourced)
    assert again.servers.single is not None
    assert (again.settings.redis_url, again.kept_settings) == (first.settings.redis_url, {})
    found = rings_of_a_child(again, monkeypatch, **sourced)
    assert (found.target_keys, found.data_keys) == (first.settings.target_keys, first.settings.data_keys)
    assert found.files.keys() == {"RELAY_TARGET_KEYS", "RELAY_DATA_KEYS"}


@pytest.mark.parametrize("lost", ["target.keys", "data.keys"])
def test_a_ring_whose_file_is_lost_is_taken_from_relay_env(start, lost):
    first = start()
    (first.directory.path / lost).unlink()
    (first.directory.server / "appendonlydir").mkdir()
    (first.directory.server / "appendonlydir" / "records").touch()
    again = start()
    assert (again.settings.target_keys, again.settings.data_keys) == (
        first.settings.target_keys,
        first.settings.data_keys,
    )
    first.directory.env_file.unlink()
    with pytest.raises(SettingsError, match="lacks one of target"):
        start()


def test_processes_follow_the_ring_s_file_that_the_environment_names(start, monkeypatch, tmp_path):
    start()
    own = tmp_path / "own"
    own.touch(mode=0o600)
    own.write_text(Vault.new_key_text())
    given = {"RELAY_DATA_KEYS_FILE": str(own)}
    assert rings_of_a_child(start(**given), monkeypatch, **given).files["RELAY_DATA_KEYS"] == own


def test_commands_use_the_redis_of_the_environment_and_the_rest_of_the_file(start):
    directory = start(RELAY_EGRESS_PORTS="8443").directory
    found = Settings.for_command(directory.path, {"RELAY_REDIS_URL": OTHER})
    assert found.redis_url.reveal() == found.store_url.reveal() == found.broker_url.reveal() == OTHER
    assert found.egress_ports == (8443,)
    assert found.data_keys is not None


def test_a_store_of_its_own_stays_where_another_redis_is_given(tmp_path):
    directory = DataDir.make(tmp_path)
    directory.write_environ({"RELAY_REDIS_URL": "redis://127.0.0.1:1/0", "RELAY_STORE_URL": "redis://127.0.0.1:2/0"})
    found = Settings.for_command(tmp_path, {"RELAY_REDIS_URL": OTHER})
    assert (found.store_url.reveal(), found.broker_url.reveal()) == ("redis://127.0.0.1:2/0", OTHER)


def test_a_file_that_others_may_read_keeps_a_start_from_using_it(start):
    directory = start(RELAY_LOG_LEVEL="warning").directory
    directory.env_file.chmod(0o644)
    with pytest.raises(Exception, match="can be read by other users"):
        kept_settings(directory, {})


@pytest.mark.parametrize("lost", [("target.keys",), ("data.keys",), ("target.keys", "data.keys")])
def test_no_target_keys_are_made_where_the_data_keys_were_copied_back_without_them(start, tmp_path, lost):
    start()
    for name in ("relay.env", *lost):
        (tmp_path / "d" / name).unlink()
    if lost == ("target.keys",):
        with pytest.raises(SettingsError, match="lacks one of target"):
            start()
        assert not (tmp_path / "d" / "target.keys").exists()
    else:  # a first start that was stopped between the two
        start()


def test_of_secrets_and_of_the_files_that_hold_them_only_the_names_are_said():
    kept = {
        "RELAY_MAX_WAITERS": "7",
        "RELAY_DATA_KEYS": "planted",
        "RELAY_TARGET_KEYS_FILE": "/planted",
        "RELAY_CA_FILE": "/c",
    }
    said = ["RELAY_CA_FILE=/c", "RELAY_DATA_KEYS", "RELAY_MAX_WAITERS=7", "RELAY_TARGET_KEYS_FILE"]
    assert list(settings_in_words(kept)) == said
