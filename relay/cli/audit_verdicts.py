"""The verdicts of ``relay audit verify``: on every trail of the server, or of a file."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final

from relay.audit.lines import heads_in, trail_files
from relay.audit.packed_file import lines_in
from relay.audit.verifying import AWAY, EDITED, MISSING, TrailCheck, Verification, Wrong
from relay.errors import BadParameter
from relay.store.keys.names import SHARED_ROOT, root_name
from relay.store.trail.trail import every_trail
from relay.text.timestamps import rfc3339

if TYPE_CHECKING:
    from relay.audit.lines import TrailFile
    from relay.audit.signing_keys import PublicKeys
    from relay.store.trail.trail import Trail
    from relay.wiring.runtime import Runtime

#: The verdict on a trail that cannot be read: it is not good.
_UNREAD: Final = Verification(wrong=Wrong(1, AWAY, "It did not answer."))
#: The verdict on the trail that every export has, if a file lacks it: an export leaves an entry in it, too.
_MISSING: Final = Verification(
    wrong=Wrong(1, MISSING, "The file lacks it, so that it is not a whole export: `relay audit export` writes one.")
)


class Verdicts:
    """Checks trails with public keys. ``earlier`` is an export whose entries must still be there.

    Raises `BadParameter` if the export has no checkpoints, so that nothing can be compared with it.
    """

    def __init__(self, keys: PublicKeys, earlier: IO[bytes] | None) -> None:
        self._keys = keys
        earlier_lines = () if earlier is None else lines_in(earlier)
        self._known = {name: heads for name, heads in heads_in(earlier_lines).items() if heads}
        if earlier is not None and not self._known:
            raise BadParameter("The file that --after names has no checkpoints: `relay audit export` writes them.")

    def on_server(self, runtime: Runtime) -> dict[str, Verification]:
        """Check every trail of the server; return the verdicts by the trails' names."""
        answers = every_trail(runtime.client, runtime.keyspace, self._on_trail)
        return self._with_gone({**answers.found, **dict.fromkeys(answers.silent, _UNREAD)})

    def on_file(self, file: IO[bytes]) -> dict[str, Verification]:
        """Check every trail of an export; return the verdicts by the trails' names."""
        found = self._with_gone({trail.name: self._on_lines(trail) for trail in trail_files(lines_in(file))})
        shared = root_name(SHARED_ROOT)
        return found | {shared: found.get(shared, _MISSING)}

    def _with_gone(self, found: dict[str, Verification]) -> dict[str, Verification]:
        """Add the verdicts on trails that only the earlier export has."""
        gone = self._known.keys() - found.keys()
        return found | {name: TrailCheck(name, self._keys, None, self._known[name]).run([]) for name in sorted(gone)}

    def _on_trail(self, trail: Trail) -> Verification:
        return TrailCheck(trail.name, self._keys, trail.beginning(), self._known.get(trail.name)).run(trail.blocks())

    def _on_lines(self, trail: TrailFile) -> Verification:
        found = TrailCheck(trail.name, self._keys, trail.begins, self._known.get(trail.name)).run(trail.blocks())
        seq = trail.misnumbered
        if found.wrong is None and seq is not None:
            found.wrong = Wrong(seq, EDITED, f"Entry {seq} has a different number in the file.")
        return found


def verdict_row(name: str, found: Verification) -> dict[str, Any]:
    """Return a verdict as the command shows it."""
    wrong = found.wrong
    return {
        "trail": name,
        "good": wrong is None,
        "first": found.first,
        "last": found.last,
        "unsigned": found.unsigned,
        "checkpoints": found.checkpoints,
        "signedAt": rfc3339(found.signed_at_ms),
        "head": found.head.hex(),
        "wrong": wrong and {"seq": wrong.seq, "what": wrong.what, "sentence": wrong.sentence},
    }
