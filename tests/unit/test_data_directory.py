"""Only an empty data directory, or one that `relay up` made, is used, and closed to other users."""

from __future__ import annotations

import pytest

from relay.errors import SettingsError
from relay.settings.environ import read_env_file
from relay.up.datadir import DataDir
from relay.up.embedded import ADMIN_URL_FILE, admin_url


def test_a_missing_or_empty_directory_becomes_a_data_directory(tmp_path):
    for path in (tmp_path / "new", tmp_path / "empty"):
        if path.name == "empty":
            path.mkdir(mode=0o755)
        assert DataDir.make(path).path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["relay.env", "lock", "logs", "valkey"])
def test_a_directory_of_an_earlier_start_is_taken_again_however_far_that_came(tmp_path, name):
    DataDir.make(tmp_path / "d")
    if "." in name or name == "lock":
        (tmp_path / "d" / name).touch()
    assert DataDir.make(tmp_path / "d")


@pytest.mark.parametrize("names", [["notes.txt"], [".ssh"], ["logs", "photo.jpg"], ["valkey", "thesis"]])
def test_a_directory_with_anything_else_in_it_is_refused_and_left_as_it_is(tmp_path, names):
    folder = tmp_path / "mine"
    folder.mkdir(mode=0o755)
    for name in names:
        (folder / name).mkdir()
    with pytest.raises(SettingsError, match="--data-dir"):
        DataDir.make(folder)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert sorted(each.name for each in folder.iterdir()) == sorted(names)


@pytest.mark.parametrize(("place", "said"), [("file", "cannot be read"), ("file/d", "cannot be made")])
def test_a_place_where_there_can_be_no_directory_is_refused(tmp_path, place, said):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=f"{said}.*--data-dir"):
        DataDir.make(tmp_path / place)


def test_a_place_that_the_server_s_configuration_cannot_name_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"not UTF-8: .*--data-dir"):
        DataDir.make(tmp_path / "\udcfc")
    assert list(tmp_path.iterdir()) == []


TEXTS = (
    "plain",
    "",
    "two words",
    "it's",
    "'quoted'",
    '"double"',
    "back\\slash",
    "a\\'b",
    "$HOME ${HOME}",
    "# no remark",
    "a=b",
    "\u00e9",
    "  ",
    "end\\",
)


@pytest.mark.parametrize("text", TEXTS)
def test_settings_are_read_as_they_were_written_whatever_they_hold(tmp_path, text):
    directory = DataDir.make(tmp_path / "data")
    directory.write_environ({"RELAY_OPERATOR": text, "RELAY_MAX_WAITERS": "7"})
    assert read_env_file(directory.env_file) == {"RELAY_OPERATOR": text, "RELAY_MAX_WAITERS": "7"}
    assert directory.env_file.stat().st_mode & 0o777 == 0o600


def test_a_port_of_the_last_start_is_taken_again_if_it_is_free(tmp_path):
    directory = DataDir.make(tmp_path / "data")
    port = directory.port("api")
    assert DataDir(directory.path).port("api") == port
    other = DataDir(directory.path)
    other.ports.take(port)
    assert other.port("api") != port
    assert (directory.path / "api.port").read_text() != f"{port}\n"


def test_a_secret_is_made_once_and_private(tmp_path):
    directory = DataDir.make(tmp_path / "data")
    assert [directory.secret("x", lambda text=text: text) for text in ("first", "second")] == ["first"] * 2
    assert (directory.path / "x").stat().st_mode & 0o777 == 0o600
    (directory.path / "x").chmod(0o640)
    with pytest.raises(SettingsError, match=r"^x in the data directory "):
        directory.read_secret("x")


def test_a_second_start_on_a_directory_is_refused_until_the_first_has_ended(tmp_path):
    directory = DataDir.make(tmp_path / "data")
    with directory.lock(), pytest.raises(SettingsError, match="`relay up` already runs"):
        directory.lock()
    directory.lock().close()


@pytest.mark.parametrize(
    ("own", "same", "others"),
    [
        (
            "redis://admin:a@127.0.0.1:7001/0",
            "redis://operator:b@127.0.0.1:7001/0",
            ["redis://operator:b@127.0.0.1:7002/0", "redis://10.0.0.1:7001/0"],
        ),
        (
            "redis+cluster://admin:a@127.0.0.1:1,127.0.0.1:2",
            "redis+cluster://x:b@127.0.0.1:1,127.0.0.1:2",
            ["redis+cluster://x:b@127.0.0.1:1,127.0.0.1:3"],
        ),
    ],
)
def test_the_administrator_s_address_is_given_for_the_servers_of_this_start_alone(tmp_path, own, same, others):
    directory = DataDir.make(tmp_path / "data")
    assert admin_url(directory.path, same) is None
    directory.write(ADMIN_URL_FILE, own + "\n")
    assert admin_url(directory.path, same) == own
    assert [admin_url(directory.path, each) for each in others] == [None] * len(others)
    (directory.path / ADMIN_URL_FILE).write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=f"{ADMIN_URL_FILE} in the data directory cannot be read"):
        admin_url(directory.path, same)
