"""Only an empty data directory, or one that `relay up` made, is used, and closed to other users."""

from __future__ import annotations

import pytest

from relay.errors import SettingsError
from relay.up.datadir import DataDir


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
