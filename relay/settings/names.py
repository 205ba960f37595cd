"""The names of the environment variables that hold settings, as far as code names them. Pure."""

from __future__ import annotations

from typing import Final

PREFIX: Final = "RELAY_"
#: After the name of a secret setting: the variable that names the file with its value.
FILE_SUFFIX: Final = "_FILE"

REDIS_URL: Final = "RELAY_REDIS_URL"
BROKER_URL: Final = "RELAY_BROKER_URL"
STORE_URL: Final = "RELAY_STORE_URL"
#: The settings with the servers' addresses.
ADDRESSES: Final = (REDIS_URL, BROKER_URL, STORE_URL)
STORE_REPLICAS: Final = "RELAY_STORE_REPLICAS"

TARGET_KEYS: Final = "RELAY_TARGET_KEYS"
DATA_KEYS: Final = "RELAY_DATA_KEYS"
AUDIT_KEY: Final = "RELAY_AUDIT_KEY"
FLOWER_AUTH: Final = "RELAY_FLOWER_AUTH"
EGRESS_PROXY: Final = "RELAY_EGRESS_PROXY"  # may contain a password

API_CPU: Final = "RELAY_API_CPU"
API_URL: Final = "RELAY_API_URL"
EGRESS_ALLOW: Final = "RELAY_EGRESS_ALLOW"
FLOWER_URL: Final = "RELAY_FLOWER_URL"
OPERATOR: Final = "RELAY_OPERATOR"
PARTITIONS: Final = "RELAY_PARTITIONS"
