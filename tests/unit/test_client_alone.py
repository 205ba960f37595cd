"""What the package is without the extra ``server``: the Python client, and a command that says what is missing."""

import subprocess
import sys

#: `requests` and its dependencies: all that is installed with the client alone.
CLIENT = {"requests", "urllib3", "idna", "certifi", "charset_normalizer"}

_ALONE = f"""
import importlib.machinery, sys

class OnlyTheClient(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        known = top in sys.stdlib_module_names or top in {sorted(CLIENT)} or top == "relay"
        return super().find_spec(name, path, target) if known else None

sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = OnlyTheClient
"""


def alone(program):
    return subprocess.run(
        [sys.executable, "-c", _ALONE + program], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_client_needs_requests_and_nothing_else():
    done = alone("from relay import Relay\nprint(Relay('https://relay.example', 'whk_a_b'))")
    assert (done.stdout.strip(), done.stderr) == ("Relay('https://relay.example')", "")


def test_the_client_for_asyncio_says_what_it_needs():
    done = alone("from relay import AsyncRelay, Relay\nAsyncRelay('https://relay.example', 'whk_a_b')")
    assert done.returncode == 1
    assert done.stderr.endswith("ImportError: AsyncRelay needs aiohttp: pip install 'webhook-relay[asyncio]'\n")


def test_the_plain_client_does_not_load_what_the_one_for_asyncio_needs():
    program = (
        "import sys; from relay import AsyncRelay, Relay; Relay('https://a', 'k'); print('aiohttp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_the_command_says_what_to_install_where_only_the_client_is():
    done = alone("from relay.__main__ import main\nmain()")
    assert done.returncode == 1
    assert "pip install 'webhook-relay[server]'" in done.stderr


def test_the_package_has_no_other_name_of_that_kind():
    done = alone("import relay\nrelay.Realy")
    assert "has no attribute 'Realy'" in done.stderr
