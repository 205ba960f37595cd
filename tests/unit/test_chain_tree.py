"""The tree of a chain, as `relay invocations show` draws it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from rich.console import Console

from relay.cli.chain_tree import MAX_STEPS, chain_tree
from relay.domain.invocation import Invocation, State, StepOf
from relay.errors import Expired, NotFound
from relay.registration.steps import MAX_CHAIN_DEPTH

NOON_MS = 12 * 3_600_000


def a_call(name, parent=None, step=0, item=0, **more):
    place = None if parent is None else StepOf(parent, step, item)
    values = {"step_of": place, "is_chain": bool(more.get("steps")), "state": State.WAITING, **more}
    return Invocation(name, "acme", f"{name}-hook", 1, lane="bulk", created_at_ms=NOON_MS, **values)


def drawn(marked, *kept, lost=NotFound):
    """Return the lines of the tree of a call, and the text that is bold; all but ``kept`` is ``lost``."""
    records = {each.reference_id: each for each in (marked, *kept)}

    def find(reference_id):
        if reference_id not in records:
            raise lost
        return records[reference_id]

    tree = chain_tree(SimpleNamespace(find=find), marked)
    if tree is None:
        return None
    console = Console(width=200)
    bold = [part.text for part in console.render(tree) if part.style and part.style.bold]
    with console.capture() as caught:
        console.print(tree)
    return caught.get().splitlines(), bold


def test_what_is_in_no_chain_has_no_tree():
    assert drawn(a_call("alone")) is None


def test_the_innermost_of_as_many_chains_as_there_may_be_is_drawn_within_all_of_them():
    names = [f"level{number}" for number in range(MAX_CHAIN_DEPTH + 1)]
    parents, steps = [None, *names[:-1]], [*((name,) for name in names[1:]), ()]
    calls = [a_call(name, parent, steps=inner) for name, parent, inner in zip(names, parents, steps, strict=True)]
    lines, bold = drawn(calls[-1], *calls)
    assert [line.split("-hook")[0].split()[-1] for line in lines] == names
    assert ["level8-hook" in part for part in bold] == [True]


@pytest.mark.parametrize("lost", [NotFound, Expired])
def test_a_tree_says_which_steps_are_gone_and_begins_below_a_chain_that_is(lost):
    inner = a_call("inner", "gone", 2, 1, steps=("first", "second"))
    lines, _ = drawn(a_call("second", "inner", 1), inner, lost=lost)
    assert [line.lstrip("├└─ ") for line in lines] == [
        "2.1  inner-hook  waiting  12:00:00.000  inner",
        "first  (forgotten)",
        "1.0  second-hook  waiting  12:00:00.000  second",
    ]


def test_a_step_that_has_ended_has_its_status_and_how_long_it_took():
    step = a_call("step", "chain", state=State.DELIVERED, status=204, finished_at_ms=NOON_MS + 1_250)
    damaged = a_call("damaged", "chain", 1, state=None)
    lines, _ = drawn(a_call("chain", steps=("step", "damaged")), step, damaged)
    assert lines[1].endswith("0.0  step-hook  delivered 204  12:00:00.000  1250 ms  step")
    assert lines[2].endswith("1.0  damaged-hook  damaged  12:00:00.000  damaged")


@pytest.mark.parametrize("more", [0, 1])
def test_no_more_than_so_many_steps_are_drawn(more):
    calls = [a_call(f"step{number}", "chain", item=number) for number in range(MAX_STEPS + more)]
    lines, _ = drawn(a_call("chain", steps=tuple(each.reference_id for each in calls)), *calls)
    assert len(lines) == 1 + MAX_STEPS + more
    assert lines[-1].endswith("..." if more else f"step{MAX_STEPS - 1}")
