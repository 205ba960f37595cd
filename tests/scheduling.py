"""Decides which tests run in the same process, and which start first: a run lasts until its slowest process is done.

The tests of a file run in one process, because its fixtures start servers. Files that share a server of the whole
session run in one process too, or each process would start its own. The server ends after the last of them, because
even an idle one uses processor time. The files that start commands (``tests/unit/forked_command.py``) share a process
so that commands are imported once, and the rules about source files so that each file is read once.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

#: Maps a session fixture, or "commands", to the files that share it, in order.
SHARING = {
    "harness": ("answers", "contract", "hiding", "plugins", "real_endpoints", "sent_once"),
    "running_relay": (
        *("browser_client", "console", "docs_page", "events", "flower_pages", "javascript_client", "python_client"),
    ),
    "running": (
        *("accept_path", "api_acts", "api_audit", "api_bulk", "api_delay", "api_document", "api_door", "api_faults"),
        *("api_invocations", "api_listing", "api_overview", "api_replays", "api_subjects"),
        *("api_triggers", "api_webhooks", "console"),
    ),
    "commands": ("cli_call_once", "cli_invocations", "cli_partitions", "cli_screen", "cli_webhooks", "untold"),
}
_FOLDERS = {"harness": "e2e", "running_relay": "e2e", "running": "integration", "commands": "unit"}
_BROWSER = ("browser", "tests/e2e")
#: The files that make networks on this machine. Chromium breaks requests off whenever an address is added or removed
#: ("ERR_NETWORK_CHANGED"), so these run in the
#: process of its tests: never beside one.
MAKE_NETWORKS = ("tests/cluster/test_network_partition.py", "tests/e2e/test_hosts.py")
_SHARED = {f"tests/{_FOLDERS[name]}/test_{file}.py": name for name, files in SHARING.items() for file in files}
_SHARED |= dict.fromkeys(MAKE_NETWORKS, "running_relay")
#: The units that take twenty seconds or longer on two otherwise idle cores, longest first.
LONGEST = (
    *("running_relay", "tests/executor/test_any_fault_anywhere.py", "tests/integration/test_writer.py", "harness"),
    *("tests/integration/test_turns.py", "tests/contract/test_ledger_interleavings.py"),
    *("tests/chaos/test_processes.py", "tests/e2e/test_tour.py", "tests/e2e/test_up.py"),
    *("tests/e2e/test_up_cluster.py", "tests/integration/test_isolation.py", "running", "tests/chaos/test_chaos.py"),
    *("tests/cluster/test_slot_migration.py", "tests/integration/test_key_timing.py"),
    *("tests/contract/test_ledger_model.py", "tests/e2e/test_telehealth.py", "tests/chaos/test_refusals.py"),
    *("tests/cluster/test_silent_primary.py", "tests/integration/test_api_generated.py"),
    "tests/integration/test_api_siege.py",
    *("tests/contract/test_replays.py", "tests/e2e/test_load.py"),
    *("tests/integration/test_hostile_login.py", "tests/cluster/test_rabbitmq.py"),
    *("tests/cluster/test_failover.py", "tests/e2e/test_rotation.py"),
    *("tests/integration/test_heartbeats.py", "tests/integration/test_replays.py"),
    *("tests/integration/test_restored.py", "tests/e2e/test_backup_drill.py"),
    *("tests/cluster/test_whole_relay.py", "tests/integration/test_alerts.py"),
)
#: The order of all other units, by folder: those with the longer units first.
FOLDERS = ("chaos", "cluster", "e2e", "integration", "executor", "contract", "architecture", "unit")
#: The units of the last folder that take four seconds or longer, longest first: the others fill the gaps.
LONGEST_OF_LAST = (
    *("commands", "tests/unit/test_javascript_module.py", "tests/unit/test_linear_time.py"),
    *("tests/unit/test_client.py", "tests/unit/test_cli_listing.py", "tests/unit/test_cli_acts.py"),
    *("tests/unit/test_damaged_values.py", "tests/unit/test_kept_settings.py", "tests/unit/test_documents.py"),
)
_LAST_FIRST = {unit: place for place, unit in enumerate(LONGEST_OF_LAST)}
_PLACES = {unit: place for place, unit in enumerate(LONGEST)}


def unit_of(nodeid: str) -> str:
    """Return the unit that a test is scheduled with: its file, or what several files share."""
    file = nodeid.partition("::")[0]
    return "architecture" if file.startswith("tests/architecture/") else _SHARED.get(file, file)


def strangers(items: Iterable[pytest.Function]) -> set[str]:
    """Return the files that use a unit's fixture without belonging to the unit: it may have ended before they run."""
    shared_by = {(name, f"tests/{folder}"): name for name, folder in _FOLDERS.items()} | {_BROWSER: "running_relay"}
    return {
        item.nodeid.partition("::")[0]
        for item in items
        for (fixture, folder), unit in shared_by.items()
        if unit_of(item.nodeid) != unit
        and any(each.baseid == folder for each in item._fixtureinfo.name2fixturedefs.get(fixture, ())[-1:])
    }


def place_of(nodeid: str) -> tuple[int, int, int]:
    """Return the key by which tests are sorted in order of start; the same for all tests of a unit."""
    folder = nodeid.split("/")[1]
    later = FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS)
    unit = unit_of(nodeid)
    return _PLACES.get(unit, len(_PLACES)), later, _LAST_FIRST.get(unit, len(_LAST_FIRST))


#: Closes the fixtures that the current unit's files share.
shared = ExitStack()


def end_shared(item: pytest.Item, following: pytest.Item | None) -> None:
    """Close what the files of a unit share, after the unit's last test."""
    if following is None or unit_of(following.nodeid) != unit_of(item.nodeid):
        shared.close()


class UnitScheduling(LoadScopeScheduling):
    """Gives each process that has finished its units the next one."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
