"""Passwords, read at connect time from where the configuration says they are."""

from __future__ import annotations

import os
from pathlib import Path

from sweeperd.config.values.credentials import LARGEST, kept_credential
from sweeperd.config.values.secret_places import place
from sweeperd.host.permissions import read_file, user_name


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
        return _read("password_file", Path(file), place("password_file", file))
    if credential is not None:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        kept = kept_credential(credential)
        if not directory and kept is not None:
            return _secret("password_credential", kept, place("password_credential", credential))
        if not directory:
            raise ValueError(
                "password_credential $CREDENTIALS_DIRECTORY is not set; run as a systemd service"
                " with LoadCredential=NAME:PATH, or use password_file"
            )
        shown = place("password_credential", credential)
        return _read("password_credential", Path(directory, credential), shown)
    if variable is not None:
        secret = os.environ.get(variable)
        if not secret:
            raise ValueError(
                f"password_env the environment variable {place('password_env', variable)} is not"
                " set; set it where sweeperd is started"
            )
        return secret
    return None


def _read(key: str, path: Path, shown: str) -> str:
    try:
        content = read_file(path, LARGEST)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValueError(
            f"{key} {shown} cannot be read: {reason}; check that it exists and that the user"
            f" {user_name(os.geteuid())}, as whom sweeperd runs, may read it"
        ) from None
    except ValueError:
        raise ValueError(f"{key} cannot be a file's name") from None
    return _secret(key, content, shown)


def _secret(key: str, content: bytes, shown: str) -> str:
    if len(content) > LARGEST:
        raise ValueError(f"{key} {shown} is larger than {LARGEST} bytes: that is not a password")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{key} {shown} is not UTF-8; write the password as UTF-8") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ValueError(f"{key} {shown} is empty; write the password into it")
    if "\0" in secret:
        raise ValueError(f"{key} {shown} contains a NUL character: that is not a password")
    return secret
