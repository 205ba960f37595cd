"""Runs the real `relay` command against a real server, in this process."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from relay.audit.signing_keys import AuditSigner
from relay.cli import main
from relay.settings import Settings
from relay.store.trail.trail import trails
from relay.upkeep.checkpointing import Checkpointing
from relay.vault import Vault
from relay.wiring.runtime import Runtime, cli_runtime

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://planted.example.com/planted-path"
SECRET = "Bearer planted-secret-value"


@dataclass(frozen=True)
class Cli:
    """The `relay` command, with its settings as environment variables."""

    url: str
    directory: Path
    keys: dict[str, str] = field(
        default_factory=lambda: {
            "RELAY_TARGET_KEYS": old_ring_text(1),
            "RELAY_DATA_KEYS": old_ring_text(1),
        }
    )

    made: list[Runtime] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str | None]:
        return {"RELAY_REDIS_URL": self.url, **self.keys}

    def use_ring_files(self, *, keys: int = 1) -> None:
        """Use a key file in the data directory for each ring, as `relay up` does; the oldest key seals."""
        for ring in ("target", "data"):
            file = self.directory / f"{ring}.keys"
            os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
            file.write_text(old_ring_text(keys))
            del self.keys[f"RELAY_{ring.upper()}_KEYS"]
            self.keys[f"RELAY_{ring.upper()}_KEYS_FILE"] = str(file)

    def run(self, *arguments: str, text: str | bytes | None = None, environ: Any = None) -> Result:
        """Run ``relay ARGUMENTS`` and return the outcome; raises any Python exception of the command."""
        place = ["--data-dir", str(self.directory)]
        return CliRunner().invoke(
            main,
            [*place, *arguments],
            input=text,
            env=self.environ if environ is None else environ,
            catch_exceptions=False,
        )

    def json(self, *arguments: str, text: str | bytes | None = None, exit_code: int = 0) -> Any:
        """Run ``relay ARGUMENTS --output json``; return what it prints on standard output."""
        result = self.run(*arguments, "--output", "json", text=text)
        assert result.exit_code == exit_code, result.output
        return json.loads(result.stdout)

    def apply(self, *webhooks: dict[str, Any], plugin: str = "acme") -> Any:
        return self.json("webhooks", "apply", "-", "--plugin", plugin, text=json.dumps(list(webhooks)))

    def runtime(self) -> Runtime:
        self.made.append(
            cli_runtime(Settings.from_environ({name: text for name, text in self.environ.items() if text}))
        )
        return self.made[-1]

    def sign_trail(self) -> None:
        """Sign what the audit trail consists of, as a worker would."""
        runtime = self.runtime()
        signer = AuditSigner(self.keys["RELAY_AUDIT_KEY"])
        for trail in trails(runtime.client, runtime.keyspace):
            Checkpointing(trail, runtime.epochs, signer, "w1", retention_ms=10**12).iterate()
        runtime.client.delete(*runtime.client.keys("*:audit:lock"))  # which would expire

    def close(self) -> None:
        while self.made:
            self.made.pop().close()


def old_ring_text(keys: int) -> str:
    """Return a ring of keys made one a year from the year 2000 on: a key that is added is newer without any wait."""
    return ",".join(f"k{2000 + number}{Vault.new_key_text()[len('kYYYY') :]}" for number in range(keys))


def a_webhook(**changes: Any) -> dict[str, Any]:
    """Return a registration with a secret and fillable parts."""
    return {
        "id": "ping",
        "url": URL,
        "method": "POST",
        "headers": {"Authorization": SECRET, "X-Note": None},
        "queryParams": ["page"],
    } | changes
