"""Runs RabbitMQ as a plain process on loopback, with its own directories, ports and port mapper."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.ports import free_port
from tests.processes import signal_group
from tests.receivers import make_authority
from tests.timing import START_S, wait_until
from tests.tools import require

if TYPE_CHECKING:
    from collections.abc import Iterator


class RabbitMQ:
    """A broker that can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self._program = require("rabbitmq-server")
        self._directory = directory
        self.port, self.tls_port = free_port(), free_port()
        self.authority = make_authority(directory)
        certificate = self.authority.files(directory, "127.0.0.1")
        self._mapper_port = str(free_port())
        config = directory / "rabbitmq.conf"
        config.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlisteners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.cacertfile = {self.authority.ca_file}\nssl_options.certfile = {certificate.chain}\n"
            f"ssl_options.keyfile = {certificate.key}\nvm_memory_high_watermark.absolute = 512MB\n"
        )
        (directory / "enabled_plugins").write_text("[].\n")
        self._environ = {
            **os.environ,
            "HOME": str(directory),
            "ERL_EPMD_PORT": self._mapper_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"r{uuid.uuid4().hex[:8]}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "logs"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }
        self._mapper = subprocess.Popen(
            ["epmd", "-port", self._mapper_port, "-address", "127.0.0.1"], env=self._environ
        )
        self.start()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def tls_url(self, ca_file: str, host: str = "127.0.0.1") -> str:
        """Return its TLS address, for clients that trust this authority."""
        return f"amqps://guest:guest@{host}:{self.tls_port}//?ssl_ca_certs={ca_file}"

    def start(self) -> None:
        with (self._directory / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [self._program], env=self._environ, stdout=out, stderr=out, start_new_session=True
            )
        wait_until(self._answers, START_S)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._directory / "out").read_text()[-2_000:]
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as probe:
                probe.settimeout(2)
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(probe.recv(1))
        except OSError:
            return False

    def kill(self) -> None:
        """Kill the broker, as if its machine were lost."""
        signal_group(self._process)
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._mapper.terminate()
        self._mapper.wait()


@contextmanager
def rabbitmq() -> Iterator[RabbitMQ]:
    """Provide a separate broker."""
    directory = Path(tempfile.mkdtemp(prefix="rlr"))
    broker = None
    try:
        broker = RabbitMQ(directory)
        yield broker
    finally:
        if broker is not None:
            broker.close()
        shutil.rmtree(directory, ignore_errors=True)
