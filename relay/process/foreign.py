"""Names the environment variables that change what the libraries of a process do behind its back.

OpenSSL, libcurl, the C library, Python, Celery and Granian obey them without being asked: one writes every TLS key to a
file, others load code, trust other authorities, or send calls through a proxy. No process of the relay runs with them.
A process that starts anew without them has loaded little but this module.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMES: Final = frozenset(
    {
        # OpenSSL and libcurl (https://curl.se/libcurl/c/libcurl-env.html)
        *("SSLKEYLOGFILE", "SSL_CERT_FILE", "SSL_CERT_DIR", "SSL_DIR", "CURL_CA_BUNDLE", "CURL_HOME"),
        *("CURL_SSL_BACKEND", "CURL_SSL_CIPHERS", "CURL_ENTROPY", "NETRC", "NTLMUSER", "RANDFILE"),
        *("REQUESTS_CA_BUNDLE", "QLOGDIR", "GNUTLS_SYSTEM_PRIORITY_FILE", "GNUTLS_FORCE_FIPS_MODE"),
        # the C library and its loader (ld.so(8), resolv.conf(5), gethostbyname(3))
        *("GCONV_PATH", "GETCONF_DIR", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH", "NLSPATH", "RESOLV_HOST_CONF"),
        *("RES_OPTIONS", "RESOLV_ADD_TRIM_DOMAINS", "RESOLV_MULTI", "RESOLV_OVERRIDE_TRIM_DOMAINS", "TZDIR"),
        *("MALLOC_TRACE", "NIS_PATH"),
    }
)
#: Whole families of names: the libraries', the loader's, Python's except those listed here, and ``*_PROXY``.
_FAMILIES: Final = re.compile(
    r"(?:OPENSSL_|CURL_|LD_|CELERY_|KOMBU_|GEVENT_|GEVENTARES_|GRANIAN_|REDIS_"
    r"|PYTHON(?!PATH\Z|UNBUFFERED\Z|DONTWRITEBYTECODE\Z|HASHSEED\Z|UTF8\Z|IOENCODING\Z))|.*_PROXY\Z",
    re.IGNORECASE,
)


def foreign_names(names: Iterable[str]) -> frozenset[str]:
    """Return the names of the variables that a process of the relay must not run with."""
    others = (name for name in names if not name.startswith("RELAY_"))
    return frozenset(name for name in others if name.upper() in _NAMES or _FAMILIES.match(name))


def start_anew_without_foreign() -> None:
    """Restart this process without the variables that its libraries would obey unasked, if it has any.

    Libraries read some of them once, long before any code of the relay runs, so removing them here is not enough.
    """
    foreign = foreign_names(os.environ)
    if foreign:
        kept = {name: text for name, text in os.environ.items() if name not in foreign}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], kept)  # noqa: S606 - no shell
