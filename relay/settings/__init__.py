"""Reads the settings of every process of the relay from the environment."""

from relay.settings.environ import ENV_FILE, child_environ, default_plugin, look_up_secret
from relay.settings.kinds import Secret
from relay.settings.names import FILE_SUFFIX, PREFIX
from relay.settings.settings import Setting, Settings, unknown_names

__all__ = [
    "ENV_FILE",
    "FILE_SUFFIX",
    "PREFIX",
    "Secret",
    "Setting",
    "Settings",
    "child_environ",
    "default_plugin",
    "look_up_secret",
    "unknown_names",
]
