"""The schedule of the tests names only files that exist."""

from pathlib import Path

from tests.scheduling import _SHARED, FOLDERS, LONGEST, LONGEST_OF_LAST, SHARING, place_of, unit_of

ROOT = Path(__file__).parents[2]


def test_every_file_and_folder_that_is_placed_is_one_of_the_suite_s():
    named = [*_SHARED, *(unit for unit in (*LONGEST, *LONGEST_OF_LAST) if unit not in SHARING)]
    assert [name for name in named if not (ROOT / name).is_file()] == []
    assert {path.parent.name for path in ROOT.glob("tests/*/test_*.py")} == set(FOLDERS)


def test_the_files_of_one_server_are_one_unit_and_begin_together():
    files = {file: f"{file}::test_it" for file, name in _SHARED.items() if name == "harness"}
    assert {unit_of(nodeid) for nodeid in files.values()} == {"harness"}
    assert len({place_of(nodeid) for nodeid in files.values()}) == 1
    assert (
        place_of("tests/e2e/test_up.py::a") == place_of("tests/e2e/test_up.py::b") < place_of("tests/unit/test_a.py::a")
    )
