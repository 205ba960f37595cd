"""The most important files, and the tests that have to detect faults in them."""

from __future__ import annotations

_EXECUTOR = (
    "tests/unit/test_executor.py tests/executor/test_settling.py tests/executor/test_advancing.py",
    "tests/executor/test_active_calls.py tests/executor/test_hanging_logins.py",
    "tests/executor/test_any_fault_anywhere.py -k '(at_each_point and NOREPLICAS) or a_stop'",
)
_SCRIPTS = tuple(
    f"{tests} -k 'not fakeredis'"
    for tests in (
        "tests/contract/test_invocations.py tests/contract/test_parking.py tests/contract/test_wake_ups.py",
        "tests/contract/test_short_claims.py tests/contract/test_chains.py tests/contract/test_chain_groups.py",
        "tests/contract/test_age.py tests/architecture/test_lua.py tests/contract/test_lifecycle.py",
        "tests/contract/test_capacity.py tests/contract/test_replays.py tests/contract/test_forgetting.py",
    )
)
_MASKING = (
    "tests/unit/test_results.py tests/unit/test_echoes.py",
    "tests/unit/test_encodings.py",
    "tests/unit/test_masking.py",
)
_PYTHON = {
    "relay/registration/retrying.py": ("tests/unit/test_retrying.py",),
    "relay/outbound/gate.py": ("tests/unit/test_gate.py",),
    "relay/executor/scheduler.py": ("tests/unit/test_in_progress.py tests/unit/test_executor.py",),
    "relay/store/server/errors.py": ("tests/unit/test_server_errors.py",),
    "relay/process/loops.py": ("tests/unit/test_loops.py",),
    "relay/answer/needles.py": _MASKING,
    "relay/answer/masking.py": _MASKING,
    "relay/answer/search.py": _MASKING,
    "relay/answer/escapes.py": _MASKING,
    "relay/answer/packings.py": _MASKING,
    "relay/answer/decoded_text.py": _MASKING,
    "relay/answer/results.py": _MASKING,
    "relay/text/expressions.py": ("tests/unit/test_expressions.py",),
    "relay/executor/group_queue.py": _EXECUTOR,
    "relay/executor/settling.py": _EXECUTOR,
    "relay/executor/advancing.py": _EXECUTOR,
    "relay/executor/claiming.py": _EXECUTOR,
    "relay/executor/in_flight.py": _EXECUTOR,
    "relay/executor/active_calls.py": _EXECUTOR,
    "relay/executor/slots.py": ("tests/unit/test_shares.py", *_EXECUTOR),
    "relay/upkeep/sweeper.py": (
        "tests/unit/test_sweeping.py tests/unit/test_sweeping_turns.py",
        "tests/contract/test_forgetting.py",
    ),
    "relay/upkeep/alerts.py": ("tests/unit/test_alerting.py",),
    "relay/upkeep/callbacks.py": ("tests/unit/test_callback_sender.py",),
}
_LUA = (
    "ledger/claim",
    "ledger/settle",
    "ledger/advance",
    "ledger/release",
    "lib/originals",
    "lib/breaker",
    "lib/parking",
    "lib/permits",
    "lib/policy",
    "lib/ready",
    "lib/conclude",
    "lib/record",
    "lib/outcomes",
)
#: Maps a file to the arguments of pytest, the quickest tests first.
TARGETS = {**_PYTHON, **{f"relay/store/lua/{name}.lua": _SCRIPTS for name in _LUA}}
