"""Draws a chain as a tree: every step, when it began, how long it took and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text
from rich.tree import Tree

from relay.cli.output import safe
from relay.errors import Expired, NotFound
from relay.text.timestamps import rfc3339

if TYPE_CHECKING:
    from relay.domain.invocation import Invocation
    from relay.store.ledger.invocations import InvocationStore

MAX_DEPTH: Final = 8  # of chains within chains; registrations allow no more
MAX_STEPS: Final = 1_000  # to draw; a chain has no more


def chain_tree(store: InvocationStore, invocation: Invocation) -> Tree | None:
    """Return the tree of the outermost chain of an invocation, which is marked in it; None if it is in no chain."""
    if invocation.step_of is None and not invocation.is_chain:
        return None
    return _Drawing(store, invocation.reference_id).draw(_outermost(store, invocation))


def _outermost(store: InvocationStore, invocation: Invocation) -> Invocation:
    for _ in range(MAX_DEPTH):
        if invocation.step_of is None:
            break
        try:
            invocation = store.find(invocation.step_of.parent)
        except (NotFound, Expired):  # the chain expired before its steps
            break
    return invocation


class _Drawing:
    def __init__(self, store: InvocationStore, marked: str) -> None:
        self._store = store
        self._marked = marked
        self._left = MAX_STEPS

    def draw(self, invocation: Invocation, into: Tree | None = None) -> Tree:
        label = self._label(invocation)
        tree = Tree(label) if into is None else into.add(label)
        for reference_id in invocation.steps:
            if self._left <= 0:
                tree.add("...")
                break
            self._left -= 1
            try:
                step = self._store.find(reference_id)
            except (NotFound, Expired):
                tree.add(f"{safe(reference_id)}  (forgotten)")
                continue
            self.draw(step, tree)
        return tree

    def _label(self, invocation: Invocation) -> Text:
        place = "" if invocation.step_of is None else f"{invocation.step_of.step}.{invocation.step_of.item}  "
        status = "" if invocation.status is None else f" {invocation.status}"
        words = [
            f"{place}{invocation.webhook_id}",
            f"{invocation.state or 'damaged'}{status}",
            str(rfc3339(invocation.created_at_ms))[11:23],
            _took(invocation),
            invocation.reference_id,
        ]
        style = "bold" if invocation.reference_id == self._marked else ""
        return Text(safe("  ".join(word for word in words if word)), style=style)


def _took(invocation: Invocation) -> str:
    if invocation.finished_at_ms is None:
        return ""
    return f"{invocation.finished_at_ms - invocation.created_at_ms} ms"
