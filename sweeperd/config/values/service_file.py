"""libpq's connection service file: named groups of connection options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sweeperd.config.values.wording import shown
from sweeperd.host.permissions import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping

# Debian's libpq is built with this directory.
_SYSTEM_DIRECTORY: Final = "/etc/postgresql-common"
_LARGEST: Final = 1 << 20  # bytes


def service_options(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the options of one service; the user's file comes before the system's.

    Args:
        name: The service, as in ``service=NAME``.
        environ: The environment variables.

    Raises:
        ValueError: No file defines the service, or a file cannot be read. The text never holds
            a value of the file.
    """
    own = environ.get("PGSERVICEFILE") or str(
        Path(environ.get("HOME") or "/nonexistent", ".pg_service.conf")
    )
    system = Path(environ.get("PGSYSCONFDIR") or _SYSTEM_DIRECTORY, "pg_service.conf")
    looked = (Path(own), system)
    for path in looked:
        found = _section(path, name)
        if found is not None:
            return found
    raise ValueError(
        f"names the service {shown(name)}, which neither {looked[0]} nor {looked[1]} defines;"
        " define it there, or write host and dbname into the dsn"
    )


def _section(path: Path, name: str) -> dict[str, str] | None:
    options: dict[str, str] | None = None
    for number, line in enumerate(map(str.strip, _read(path).splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if options is not None:
                break
            options = {} if line == f"[{name}]" else None
        elif options is not None:
            key, equals, value = line.partition("=")
            if not equals or key in {"service", "servicefile"}:
                raise ValueError(
                    f"needs the service file {path}, whose line {number} is not an option;"
                    " write option=value, without a blank around ="
                )
            options.setdefault(key, value)
    return options


def _read(path: Path) -> str:
    """Return the file's text; empty if there is no file."""
    try:
        text = read_file(path, _LARGEST).decode()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ValueError(f"needs the service file {path}, which cannot be read: {reason}") from None
    if len(text) > _LARGEST:
        raise ValueError(f"needs the service file {path}, which is larger than {_LARGEST} bytes")
    return text
