"""The files of TLS that a connection string names, looked at before anything connects.

The driver names neither the option nor the file when it cannot read one.
"""

from __future__ import annotations

import os
import ssl
import stat
from pathlib import Path
from typing import Final

from sweeperd.host.permissions import read_file

_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_SYSTEM: Final = "system"
# where Debian, Red Hat and others keep what the system trusts
_SYSTEM_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_OF_ROOTS: Final = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP


def with_tls_files(options: dict[str, str]) -> dict[str, str]:
    """Return the options with files that can be read, and ``system`` resolved to one.

    Raises:
        ValueError: A file cannot be used; the text names the option and the file.
    """
    if options.get("sslmode") == "disable":
        return options
    if options.get("sslrootcert") == _SYSTEM:
        options = options | {"sslrootcert": _system_file(options)}
    for key in _FILES:
        path = options.get(key)
        if path:
            _look_at(key, path)
    return options


def _system_file(options: dict[str, str]) -> str:
    if options.get("sslmode") not in {None, "", "verify-full"}:
        raise ValueError(
            f"has sslrootcert=system with sslmode={options['sslmode']}, which is too weak for it; "
            "write sslmode=verify-full"
        )
    options["sslmode"] = "verify-full"
    for path in (ssl.get_default_verify_paths().cafile, *_SYSTEM_FILES):
        if path and os.path.exists(path):  # noqa: PTH110 - a string from the ssl module
            return path
    raise ValueError(
        "has sslrootcert=system, and this system has no file of trusted certificates; "
        "apt-get install ca-certificates"
    )


def _look_at(key: str, path: str) -> None:
    try:
        read_file(Path(path), 0)
        status = os.stat(path)  # noqa: PTH116 - libpq's own spelling of a path
    except OSError as error:
        raise ValueError(f"has {key}, whose file {path} cannot be read: {error.strerror}") from None
    if key != "sslkey":
        return
    loose = _OTHERS_OF_ROOTS if status.st_uid == 0 else _OTHERS
    if status.st_mode & loose:
        raise ValueError(
            f"has sslkey, and others can read the private key {path}; run: chmod 0600 {path}"
        )
