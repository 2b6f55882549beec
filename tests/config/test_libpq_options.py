"""Each option and variable of libpq is honoured, or refused by name; the document says which."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeperd.config.values.dsn import check_dsn, connect_attempts
from sweeperd.config.values.libpq_options import HANDLED, OPTIONS, Option

DOCUMENT = Path(__file__).parents[2] / "docs" / "connecting.md"
BASE = "host=h dbname=d user=u"
VALUES = {
    "channel_binding": "prefer",
    "connect_timeout": "7",
    "gssencmode": "disable",
    "load_balance_hosts": "disable",
    "port": "5433",
    "sslmode": "require",
    "sslnegotiation": "direct",
    "ssl_min_protocol_version": "TLSv1.2",
    "ssl_max_protocol_version": "TLSv1.3",
    "target_session_attrs": "read-write",
}
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
named = [option for option in OPTIONS if option.name is not None]
variables = [option for option in OPTIONS if option.variable is not None]


def name_of(option: Option) -> str:
    return option.name or option.variable or ""


@pytest.fixture
def value(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    option: Option = request.getfixturevalue("option")
    if option.name not in FILES:
        return VALUES.get(option.name or "", "x")
    file = tmp_path / "file.pem"
    file.write_text("")
    file.chmod(0o600)
    return str(file)


@pytest.mark.parametrize("option", named, ids=name_of)
def test_an_option_is_honoured_ignored_or_refused_by_name(option: Option, value: str) -> None:
    dsn = f"{BASE} {option.name}={value}"
    if option.treatment == "refused":
        assert f"has the option {option.name}, which is not supported" in (check_dsn(dsn) or "")
        return
    if option.name == "service":
        with pytest.raises(ValueError, match="names the service"):
            connect_attempts(dsn, {})
        return
    (attempt,) = connect_attempts(dsn, {})
    assert check_dsn(dsn) is None
    handled = option.treatment == "ignored" or option.name in HANDLED
    assert (f"{option.name}=" in attempt.dsn) != handled
    if option.name == "connect_timeout":
        assert attempt.timeout == 7


@pytest.mark.parametrize("option", variables, ids=name_of)
def test_a_variable_is_honoured_ignored_or_refused_by_name(option: Option, value: str) -> None:
    environ = {option.variable or "": value}
    dsn = " ".join(part for part in BASE.split() if not part.startswith(f"{option.name}="))
    if option.treatment == "refused" or option.name == "service":
        with pytest.raises(ValueError, match=rf"\${option.variable}|the service"):
            connect_attempts(dsn, environ)
        return
    (attempt,) = connect_attempts(dsn, environ)
    handled = option.treatment == "ignored" or option.name in HANDLED
    assert (f"{option.name}=" in attempt.dsn) != handled


@pytest.mark.parametrize("key", ["gssencmode", "channel_binding"])
def test_protection_that_the_driver_lacks_is_refused_by_name(key: str) -> None:
    assert f"has {key}=require" in (check_dsn(f"{BASE} {key}=require") or "")
    with pytest.raises(ValueError, match=f"PG{key.upper().replace('_', '')}"):
        connect_attempts(BASE, {f"PG{key.upper().replace('_', '')}": "require"})


def test_the_document_has_the_table() -> None:
    text = DOCUMENT.read_text()

    for option in OPTIONS:
        name = f"`{option.name}`" if option.name else ""
        variable = f"`{option.variable}`" if option.variable else ""
        assert f"| {name} | {variable} | {option.treatment} | {option.note} |" in text


@pytest.mark.parametrize("key", FILES)
def test_a_missing_file_of_tls_is_named_with_its_option(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"has {key}, whose file .*missing cannot be read"):
        connect_attempts(f"{BASE} {key}={tmp_path}/missing", {})


@pytest.mark.parametrize("key", FILES)
def test_a_pipe_in_place_of_a_file_of_tls_is_refused_and_not_waited_for(
    key: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=f"has {key}, .*pipe .*not a regular file"):
        connect_attempts(f"{BASE} {key}={tmp_path}/pipe", {})


def test_a_pipe_in_place_of_a_service_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"service file .*pipe.* not a regular file"):
        connect_attempts("service=s", {"PGSERVICEFILE": f"{tmp_path}/pipe"})


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("")
    key.chmod(0o644)

    with pytest.raises(ValueError, match="others can read the private key"):
        connect_attempts(f"{BASE} sslkey={key}", {})
    key.chmod(0o640 if os.geteuid() == 0 else 0o600)
    assert connect_attempts(f"{BASE} sslkey={key}", {})


def test_the_systems_certificates_need_a_full_check() -> None:
    with pytest.raises(ValueError, match="write sslmode=verify-full"):
        connect_attempts(f"{BASE} sslrootcert=system sslmode=require", {})
    if Path("/etc/ssl/certs/ca-certificates.crt").exists():
        (attempt,) = connect_attempts(f"{BASE} sslrootcert=system", {})
        assert "sslmode=verify-full" in attempt.dsn
        assert "sslrootcert=system" not in attempt.dsn
