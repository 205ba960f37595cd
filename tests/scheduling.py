"""Which tests follow each other in one process, and what begins first: a run is as long as what its last process has left.

A file stays in one process, for the servers that its fixtures start. Files that share a server of the whole session stay
together, or each process would start one of its own; and it ends with the last of them, for one that waits computes too.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

#: By a fixture of the session: its files, one after the other.
SHARING = {
    "harness": ("answers", "contract", "hiding", "plugins", "sent_once"),
    "running_relay": ("browser_client", "console", "docs_page", "flower_pages", "javascript_client", "python_client"),
    "running": (
        *("accept_path", "api_acts", "api_audit", "api_bulk", "api_delay", "api_document", "api_door", "api_faults"),
        *("api_hostile_cases", "api_invocations", "api_listing", "api_overview", "api_replays", "api_triggers"),
        *("api_webhooks", "console"),
    ),
}
_FOLDERS = {"harness": "e2e", "running_relay": "e2e", "running": "integration"}
_BROWSER = ("browser", "tests/e2e")
_SHARED = {f"tests/{_FOLDERS[name]}/test_{file}.py": name for name, files in SHARING.items() for file in files}
#: What takes twenty seconds or longer on two cores that do nothing else, longest first.
LONGEST = (
    *("running_relay", "tests/executor/test_any_fault_anywhere.py", "tests/integration/test_writer.py", "harness"),
    *("tests/integration/test_turns.py", "tests/contract/test_ledger_interleavings.py"),
    *("tests/chaos/test_processes.py", "tests/e2e/test_tour.py", "tests/e2e/test_up.py"),
    *("tests/e2e/test_up_cluster.py", "tests/integration/test_isolation.py", "running", "tests/chaos/test_chaos.py"),
    *("tests/cluster/test_slot_migration.py", "tests/integration/test_key_timing.py"),
    *("tests/contract/test_ledger_model.py", "tests/e2e/test_telehealth.py", "tests/chaos/test_refusals.py"),
    *("tests/cluster/test_silent_primary.py", "tests/integration/test_api_generated.py"),
    *("tests/integration/test_api_siege.py", "tests/unit/test_cli_acts.py", "tests/cluster/test_moves.py"),
    *("tests/contract/test_replays.py", "tests/integration/test_bench_sweeps.py", "tests/e2e/test_load.py"),
    *("tests/unit/test_linear_time.py", "tests/integration/test_hostile_login.py", "tests/unit/test_cli_screen.py"),
    *("tests/cluster/test_rabbitmq.py", "tests/cluster/test_failover.py", "tests/e2e/test_rotation.py"),
    *("tests/integration/test_heartbeats.py", "tests/integration/test_replays.py"),
    *("tests/integration/test_bench_peers.py", "tests/cluster/test_whole_relay.py", "tests/integration/test_alerts.py"),
)
#: Of all others: where the longer ones are.
FOLDERS = ("chaos", "cluster", "e2e", "integration", "executor", "contract", "unit", "architecture")
_PLACES = {unit: place for place, unit in enumerate(LONGEST)}


def unit_of(nodeid: str) -> str:
    """What a test is scheduled with: a file, or a server that files share."""
    file = nodeid.partition("::")[0]
    return _SHARED.get(file, file)


def strangers(items: Iterable[pytest.Function]) -> set[str]:
    """The files that use what a unit shares and are not of it: it may have ended when their turn comes."""
    shared_by = {(name, f"tests/{folder}"): name for name, folder in _FOLDERS.items()} | {_BROWSER: "running_relay"}
    return {
        item.nodeid.partition("::")[0]
        for item in items
        for (fixture, folder), unit in shared_by.items()
        if unit_of(item.nodeid) != unit
        and any(each.baseid == folder for each in item._fixtureinfo.name2fixturedefs.get(fixture, ())[-1:])
    }


def place_of(nodeid: str) -> tuple[int, int]:
    """Sorts tests by when they begin; those of a unit are alike."""
    folder = nodeid.split("/")[1]
    later = FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS)
    return _PLACES.get(unit_of(nodeid), len(_PLACES)), later


#: What the files of a unit share, and how it ends.
shared = ExitStack()


def end_shared(item: pytest.Item, following: pytest.Item | None) -> None:
    """Ends what the files of a unit share after the last test of it."""
    if following is None or unit_of(following.nodeid) != unit_of(item.nodeid):
        shared.close()


class UnitScheduling(LoadScopeScheduling):
    """Gives a process that has nothing left the next unit."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
