"""Names of the places where a password is kept, which may be the password itself by mistake."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

HIDDEN: Final = "***"
PLACES: Final = frozenset({"password_file", "password_credential", "password_env"})

_NAMES_SHOWN: Final = re.compile(r"(?=[^._-]*[._-])[A-Za-z0-9][A-Za-z0-9._-]{1,60}")


def place(key: str, value: str) -> str:
    """Return the name of a place as it may be shown; ``***`` where it may be a password.

    A path shows itself by a second slash or by being there, a variable or credential by an
    underscore, a hyphen or a dot, or by being there.

    Args:
        key: password_file, password_credential or password_env.
        value: What the operator wrote.
    """
    if key == "password_file":
        is_place = value.startswith("/") and (value.count("/") > 1 or os.path.lexists(value))
    elif key == "password_env":
        is_place = value in os.environ or _NAMES_SHOWN.fullmatch(value) is not None
    else:
        directory = os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")
        is_place = (
            os.path.lexists(Path(directory, value)) or _NAMES_SHOWN.fullmatch(value) is not None
        )
    return value if is_place else HIDDEN
