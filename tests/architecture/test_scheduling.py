"""The schedule of the tests names only files that exist."""

from pathlib import Path

from tests.scheduling import _SHARED, FOLDERS, LONGEST, LONGEST_OF_LAST, MAKE_NETWORKS, SHARING, place_of, unit_of

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


def test_no_network_is_made_while_a_browser_is_tested():
    makers = {"from tests.hosts import", "from tests.cluster.hosted import"}
    files = [path for path in ROOT.glob("tests/*/test_*.py") if any(maker in path.read_text() for maker in makers)]
    made = {str(path.relative_to(ROOT)) for path in files if path != Path(__file__)}
    assert made == set(MAKE_NETWORKS)
    assert {unit_of(f"{file}::test_it") for file in made} == {unit_of("tests/e2e/test_console.py::test_it")}
