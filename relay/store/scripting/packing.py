"""Packs the runs of scripts for redis-py's connections."""

from __future__ import annotations

from typing import Any, Final

from hiredis import pack_command
from redis.connection import HiredisRespSerializer


class _ScriptPacker(HiredisRespSerializer):
    """redis-py's packer without its check of each argument of a script, which takes longer than packing them all."""

    def pack(self, *args: Any) -> list[bytes]:
        """Return the command as bytes to send."""
        if args[0] == "FCALL":
            return [pack_command(args)]
        packed: list[bytes] = super().pack(*args)
        return packed


SCRIPT_PACKER: Final = _ScriptPacker()
