"""Passwords, read at connect time from where the configuration says they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_LARGEST: Final = 65536


def read_secret(*, file: str | None, credential: str | None, variable: str | None) -> str | None:
    """Return the secret of the one place given; None if none is.

    Args:
        file: Path of a file; one trailing newline is no part of the secret.
        credential: Name of a systemd credential, a file below $CREDENTIALS_DIRECTORY.
        variable: Name of an environment variable.

    Raises:
        ValueError: It cannot be read. The text begins with the key's name and a blank, and
            never holds the secret.
    """
    if file is not None:
        return _read("password_file", Path(file))
    if credential is not None:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise ValueError(
                "password_credential $CREDENTIALS_DIRECTORY is not set; run as a systemd service"
                f" with LoadCredential={credential}:PATH, or use password_file"
            )
        return _read("password_credential", Path(directory, credential))
    if variable is not None:
        secret = os.environ.get(variable)
        if not secret:
            raise ValueError(
                f"password_env the environment variable {variable} is not set; set it where"
                " sweeperd is started"
            )
        return secret
    return None


def _read(key: str, path: Path) -> str:
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(
            f"{key} {path} cannot be read: {reason}; check that it exists and that the user"
            " sweeperd runs as may read it"
        ) from None
    if len(content) > _LARGEST:
        raise ValueError(f"{key} {path} is larger than {_LARGEST} bytes: that is no password")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{key} {path} is not UTF-8; write the password as UTF-8") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ValueError(f"{key} {path} is empty; write the password into it")
    if "\0" in secret:
        raise ValueError(f"{key} {path} contains a NUL character: that is no password")
    return secret
