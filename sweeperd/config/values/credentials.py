"""The service's credentials, read by root from where systemd reads them.

systemd copies each file of /etc/sweeperd/credentials (``LoadCredential=db:...``) for the service
alone. A command that root starts, and that then becomes the service's user, keeps them itself.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from sweeperd.host.permissions import read_file

SOURCE: Final = Path("/etc/sweeperd/credentials")
LARGEST: Final = 65536
_PREFIX: Final = "db_"

_kept: dict[str, bytes] = {}


def keep_credentials(source: Path = SOURCE) -> None:
    """Read them, if this process is root's and no service manager has given it others.

    Args:
        source: The directory; a file ``app`` in it is the credential ``db_app``.
    """
    if os.geteuid() != 0 or os.environ.get("CREDENTIALS_DIRECTORY"):
        return
    # one that cannot be read is missed where it is asked for, by its name
    with suppress(OSError):
        for path in source.iterdir():
            with suppress(OSError):
                _kept[f"{_PREFIX}{path.name}"] = read_file(path, LARGEST)


def kept_credential(name: str) -> bytes | None:
    """Return the content of a credential that was kept, at most one byte over the limit."""
    return _kept.get(name)
