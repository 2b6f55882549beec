"""Connection strings: libpq's two spellings, checked before anything connects.

The driver knows URIs only, takes options it does not know for server settings (a pooler refuses
those) and fails late on a wrong one. So both spellings are read here.
"""

from __future__ import annotations

import ipaddress
import os
import random
import re
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sweeperd.config.values.libpq_options import BY_NAME, HANDLED, OPTIONS
from sweeperd.config.values.service_file import service_options
from sweeperd.config.values.tls_files import with_tls_files
from sweeperd.config.values.wording import shown, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN: Final = "***"
EXAMPLE: Final = '"postgresql://user@host:5432/name" or "host=... user=... dbname=..."'

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PASSED: Final = tuple(
    option.name
    for option in OPTIONS
    if option.name is not None and option.treatment == "honoured" and option.name not in HANDLED
)
_TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_CHOICES: Final = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": (
        *("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
    ),
    "sslnegotiation": ("postgres", "direct"),
    "gssencmode": ("disable", "prefer", "require"),
    "channel_binding": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
}
_RESEMBLES: Final = ("did you mean", "write the address")
# Values of an option that the driver cannot honour.
_REFUSED: Final = {
    "gssencmode": ("require", "sslmode=verify-full"),
    "channel_binding": ("require", "sslmode=verify-full"),
}
SOCKET_DIRECTORY: Final = "/var/run/postgresql"  # where Debian's libpq looks without a host
_SECRET: Final = ("password", "sslpassword")
_HIGHEST_PORT: Final = 65535


@dataclass(frozen=True)
class Attempt:
    """One host to try.

    Attributes:
        dsn: What the driver is given; names one host.
        timeout: ``connect_timeout`` in seconds; None if the dsn sets no limit.
    """

    dsn: str = field(repr=False)
    timeout: int | None


def connect_attempts(dsn: str, environ: Mapping[str, str] = os.environ) -> tuple[Attempt, ...]:
    """Return one attempt for each host, in libpq's order.

    Each host is tried by itself, so that each has its own time and its own password.

    Args:
        dsn: A URI or a key=value string; a service and environment variables complete it.
        environ: The environment variables.

    Raises:
        ValueError: It cannot be used; the text never holds a password.
    """
    problem = check_dsn(dsn)
    if problem is not None:
        raise ValueError(problem)
    options = _completed(_options(dsn), environ)
    for key, value in options.items():
        _check_option(key, value)
    _check_hosts(options)
    if not options.get("dbname"):
        raise ValueError("names no database; add dbname=NAME, or /NAME to a URI")
    options = with_tls_files(options)
    hosts = (options.get("host") or SOCKET_DIRECTORY).split(",")
    ports = (options.get("port") or "5432").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    servers = list(zip(hosts, ports, strict=True))
    if options.get("load_balance_hosts") == "random":
        random.shuffle(servers)
    wanted = options.get("target_session_attrs", "any")
    passes = ("standby", "any") if wanted == "prefer-standby" else (wanted,)
    return tuple(
        _attempt(options | {"host": host, "port": port, "target_session_attrs": state})
        for state in passes
        for host, port in servers
    )


def _attempt(options: dict[str, str]) -> Attempt:
    passed = {key: value for key, value in options.items() if key in _PASSED and value}
    passed["host"] = _bracketed(passed["host"])
    query = urllib.parse.urlencode(passed, quote_via=urllib.parse.quote, safe="")
    limit = int(options.get("connect_timeout") or 0)
    return Attempt(f"postgresql://?{query}", limit if limit > 0 else None)


def _completed(options: dict[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Add what a service, and then the environment, says about what the dsn leaves out."""
    service = options.get("service") or environ.get("PGSERVICE")
    if service:
        options = service_options(service, environ) | options
    options.pop("service", None)
    for option in OPTIONS:
        value = environ.get(option.variable or "")
        if not value or option.treatment == "ignored" or option.name is None:
            continue
        if option.treatment == "refused":
            raise ValueError(
                f"cannot honour ${option.variable}: {option.note}; unset it where sweeperd is"
                " started"
            )
        if option.name != "service" and not options.get(option.name):
            try:
                _check_option(option.name, value)
            except ValueError as error:
                raise ValueError(f"and ${option.variable} do not fit: it {error}") from None
            options[option.name] = value
    return options


def check_dsn(dsn: str) -> str | None:
    """Return what is wrong with the connection string, and the cure; None if nothing is.

    No password is part of the text.
    """
    try:
        options = _options(dsn)
        for key, value in options.items():
            _check_option(key, value)
        _check_hosts(options)
    except ValueError as error:
        return str(error)
    return None


def hide_password(dsn: str) -> str:
    """Return the connection string with ``***`` for each password in it.

    One without a password comes back as it is. What cannot be read is hidden as far as a
    password could reach.
    """
    try:
        options = _options(dsn)
    except ValueError:
        return _hide_roughly(dsn)
    if not any(options.get(key) for key in _SECRET):
        return dsn
    if not _is_uri(dsn):
        return " ".join(
            f"{key}={_quoted(HIDDEN if key in _SECRET else value)}"
            for key, value in options.items()
        )
    head, mark, query = dsn.partition("?")
    head = re.sub(r"^([a-z]+://[^:/@]*):[^@]*@", rf"\1:{HIDDEN}@", head)
    return head + mark + "&".join(_hidden_pair(pair) for pair in query.split("&"))


def _hidden_pair(pair: str) -> str:
    key, equals, _ = pair.partition("=")
    return f"{key}={HIDDEN}" if equals and urllib.parse.unquote(key) in _SECRET else pair


def has_password(dsn: str) -> bool:
    """Return whether the connection string holds a password."""
    try:
        return bool(_options(dsn).get("password"))
    except ValueError:
        return False


def _is_uri(dsn: str) -> bool:
    return _SCHEME.match(dsn) is not None


def _options(dsn: str) -> dict[str, str]:
    """Return libpq's options by name; several hosts and ports stay one comma list."""
    if not dsn.strip():
        raise ValueError(f"is empty; write {EXAMPLE}")
    if "\0" in dsn:
        raise ValueError("contains a NUL character; take it out")
    scheme = _SCHEME.match(dsn)
    if scheme is not None:
        if scheme.group(1) not in {"postgresql", "postgres"}:
            name = scheme.group(1)
            seen = f"the scheme {shown(name)}" if name.isalpha() and name.islower() else "a scheme"
            raise ValueError(f"has {seen}; write postgresql://user@host:5432/name")
        return _uri_options(dsn)
    if "=" not in dsn:
        raise ValueError(f"is not a connection string; write {EXAMPLE}")
    return _pair_options(dsn)


def _uri_options(uri: str) -> dict[str, str]:
    if any(character.isspace() or not character.isprintable() for character in uri):
        raise ValueError("contains a blank or control character; percent-encode it, a blank as %20")
    if "#" in uri:
        raise ValueError('contains "#"; percent-encode it as %23')
    head, mark, query = uri.partition("?")
    netloc, _, path = head.partition("://")[2].partition("/")
    if netloc.count("@") > 1 or "@" in path:
        raise ValueError(
            'contains more than one "@", or "/" before it; percent-encode user and password:'
            " @ as %40, / as %2F"
        )
    login, at, hosts = netloc.rpartition("@")
    options: dict[str, str] = {}
    if at:
        user, _, password = login.partition(":")
        options |= {"user": _decoded(user), "password": _decoded(password)}
    if hosts:
        names, ports = zip(*(_host_and_port(host) for host in hosts.split(",")), strict=True)
        options["host"] = ",".join(names)
        if any(ports):
            options["port"] = ",".join(port or "5432" for port in ports)
    options["dbname"] = _decoded(path)
    options = {key: value for key, value in options.items() if value}
    for pair in query.split("&") if mark else ():
        key, equals, value = pair.partition("=")
        if not equals or not key or not value:
            name = key if key in _PASSED else "NAME"
            raise ValueError(
                f"has an option without a value behind its ?; write {name}=VALUE, and"
                " percent-encode what belongs to a password: ? as %3F, & as %26"
            )
        options["dbname" if key == "database" else _decoded(key)] = _decoded(value)
    return options


def _host_and_port(text: str) -> tuple[str, str]:
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.%a-z]+)\](?::(.*))?", text)
    if bracketed:
        return bracketed.group(1), bracketed.group(2) or ""
    host, _, port = text.partition(":")
    if ":" in port or "[" in text or "]" in text:
        raise ValueError("has a malformed host; write an IPv6 address as [::1]:5432")
    return _decoded(host), port


def _decoded(text: str) -> str:
    try:
        decoded = urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("has a percent-encoded part that is not UTF-8") from None
    if "%" in re.sub(r"%[0-9A-Fa-f]{2}", "", text):
        raise ValueError('contains "%" without two hex digits; percent-encode it as %25')
    if "\0" in decoded:
        raise ValueError("contains a NUL character; take it out")
    return decoded


def _pair_options(dsn: str) -> dict[str, str]:
    """Read ``key = value`` pairs as libpq does: quotes, and a backslash before any character."""
    pair = re.compile(
        r"\s*(?P<key>[A-Za-z_]+)\s*=\s*(?:'(?P<quoted>(?:[^'\\]|\\.)*)'(?=\s|$)"
        r"|(?P<bare>(?!')(?:[^\s\\]|\\.)*))",
        re.DOTALL,
    )
    options: dict[str, str] = {}
    position, end = 0, len(dsn.rstrip())
    while position < end:
        found = pair.match(dsn, position)
        if found is None:
            names = [name for name in options if name in _PASSED]
            last = f" after {names[-1]}" if names else ""
            raise ValueError(
                f"is not a key=value string{last}; write {EXAMPLE}, a value with blanks in '...'"
            )
        value = found["quoted"] if found["quoted"] is not None else found["bare"]
        options[found["key"]] = re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        position = found.end()
    return options


def _check_option(key: str, value: str) -> None:
    option = BY_NAME.get(key)
    if option is not None and option.treatment == "refused":
        raise ValueError(f"has the option {key}, which is not supported; {option.note}")
    if option is None:
        # it may be half of a password: only what resembles an option is shown
        near = _near(key)
        resembles = near.startswith(_RESEMBLES) and key.replace("_", "").isalpha() and key.islower()
        seen = f"the option {shown(key)}, which" if resembles else "an option that"
        raise ValueError(f"has {seen} is not supported; {near}")
    choices = _CHOICES.get(key)
    if choices is not None and value and value not in choices:
        raise ValueError(f"has an unknown {key}; write one of {', '.join(choices)}")
    if key in _REFUSED and value == _REFUSED[key][0]:
        raise ValueError(
            f"has {key}={value}, which the driver cannot do; use {_REFUSED[key][1]} instead"
        )
    if key == "connect_timeout" and value and not re.fullmatch(r"-?[0-9]{1,9}", value):
        raise ValueError("has a connect_timeout that is not whole seconds; write a number")


def _near(key: str) -> str:
    if key == "hostaddr":
        return "write the address as host"
    return suggestion(key, _PASSED)


def _check_hosts(options: dict[str, str]) -> None:
    hosts = options["host"].split(",") if options.get("host") else []
    ports = options["port"].split(",") if options.get("port") else []
    if hosts and not all(hosts):
        raise ValueError("has an empty host in its list; take the stray comma out")
    if any(":" in host and not host.startswith("/") and not _is_address(host) for host in hosts):
        raise ValueError('has a host with ":" in it; write its port, user and password by name')
    for port in ports:
        if not port.isascii() or not port.isdecimal() or not 0 < int(port) <= _HIGHEST_PORT:
            number = port.isascii() and port.isdecimal() and len(port) <= len(str(_HIGHEST_PORT))
            seen = f"the port {port}" if number else "a port that is not a number"
            raise ValueError(f"has {seen}; a port is 1 to {_HIGHEST_PORT}")
    if len(ports) > 1 and len(ports) != len(hosts):
        raise ValueError(f"has {len(ports)} ports for {len(hosts)} hosts; write one each, or one")


def _is_address(host: str) -> bool:
    """Whether a host is an IPv6 address, perhaps with its zone."""
    try:
        ipaddress.IPv6Address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("/") else host


def _quoted(value: str) -> str:
    if value and not re.search(r"[\s'\\]", value):
        return value
    return "'" + re.sub(r"(['\\])", r"\\\1", value) + "'"


def _hide_roughly(dsn: str) -> str:
    scheme = _SCHEME.match(dsn)
    if scheme is None or "password" in dsn:
        return HIDDEN
    login, at, rest = dsn[scheme.end() :].rpartition("@")
    user = login.partition(":")[0]
    return f"{scheme.group()}{user}:{HIDDEN}@{rest}" if at else dsn
