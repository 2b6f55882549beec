"""Each connection option and environment variable of libpq, and what becomes of it here.

Source: PostgreSQL manual, 34.1.2 "Parameter Key Words" and 34.15 "Environment Variables", up to
version 18. What would choose another server or weaken its protection is honoured or refused by
name, never passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Treatment = Literal["honoured", "ignored", "refused"]


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: The key word; None for a variable without one.
        variable: The environment variable; None for an option without one.
        treatment: What becomes of it.
        note: What it means here: why it is ignored, or what to write instead of it.
    """

    name: str | None
    variable: str | None
    treatment: Treatment
    note: str = ""


def _honoured(name: str, variable: str | None = None, note: str = "") -> Option:
    return Option(name, variable, "honoured", note)


def _ignored(name: str | None, variable: str | None, note: str) -> Option:
    return Option(name, variable, "ignored", note)


def _refused(name: str, variable: str | None, note: str) -> Option:
    return Option(name, variable, "refused", note)


_FULL: Final = "use sslmode=verify-full"
_OURS: Final = "sweeperd sets its own"
_TCP: Final = "sweeperd bounds each host, login and statement itself"
_SESSION: Final = "no setting of the session matters to sweeperd"

OPTIONS: Final[tuple[Option, ...]] = (
    _honoured("host", "PGHOST", "several are tried in order; without one /var/run/postgresql"),
    _honoured("port", "PGPORT"),
    _honoured("dbname", "PGDATABASE", "must be named: there is no default"),
    _honoured("user", "PGUSER"),
    _honoured("password", "PGPASSWORD", "better in password_file or password_credential"),
    _honoured("passfile", "PGPASSFILE", "looked up for each host by itself"),
    _honoured("service", "PGSERVICE", "PGSERVICEFILE and PGSYSCONFDIR are honoured, too"),
    _honoured("connect_timeout", "PGCONNECT_TIMEOUT", "of each host; 10 s without it"),
    _honoured("target_session_attrs", "PGTARGETSESSIONATTRS"),
    _honoured("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    _honoured("options", "PGOPTIONS"),
    _honoured("sslmode", "PGSSLMODE"),
    _honoured("sslnegotiation", "PGSSLNEGOTIATION"),
    _honoured("sslcert", "PGSSLCERT"),
    _honoured("sslkey", "PGSSLKEY", "others must not be able to read it"),
    _honoured("sslpassword"),
    _honoured("sslrootcert", "PGSSLROOTCERT", "system needs sslmode=verify-full"),
    _honoured("sslcrl", "PGSSLCRL"),
    _honoured("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    _honoured("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    _honoured("krbsrvname", "PGKRBSRVNAME"),
    _honoured("gsslib", "PGGSSLIB"),
    _honoured("gssencmode", "PGGSSENCMODE", f"disable and prefer; instead of require {_FULL}"),
    _honoured(
        "channel_binding", "PGCHANNELBINDING", f"disable and prefer; instead of require {_FULL}"
    ),
    _ignored("application_name", "PGAPPNAME", _OURS),
    _ignored("fallback_application_name", None, _OURS),
    _ignored("client_encoding", "PGCLIENTENCODING", _OURS),
    _ignored("keepalives", None, _TCP),
    _ignored("keepalives_idle", None, _TCP),
    _ignored("keepalives_interval", None, _TCP),
    _ignored("keepalives_count", None, _TCP),
    _ignored("tcp_user_timeout", None, _TCP),
    _ignored("sslcompression", "PGSSLCOMPRESSION", "there is no compression"),
    _ignored("sslsni", "PGSSLSNI", "the host's name is always sent"),
    _ignored(None, "PGDATESTYLE", _SESSION),
    _ignored(None, "PGTZ", _SESSION),
    _ignored(None, "PGGEQO", _SESSION),
    _ignored(None, "PGLOCALEDIR", "messages are the server's"),
    _refused("hostaddr", "PGHOSTADDR", "write the address as host"),
    _refused("require_auth", "PGREQUIREAUTH", f"the driver cannot insist on a method; {_FULL}"),
    _refused("requirepeer", "PGREQUIREPEER", "the driver cannot look at the server's user"),
    _refused("replication", None, "sweeperd needs an ordinary session"),
    _refused("requiressl", "PGREQUIRESSL", "write sslmode=require"),
    _refused("sslcrldir", "PGSSLCRLDIR", "write one file as sslcrl"),
    _refused("sslcertmode", "PGSSLCERTMODE", "name the certificate with sslcert, or leave it out"),
    _refused("sslkeylogfile", None, "keys are never written"),
    _refused("gssdelegation", "PGGSSDELEGATION", "credentials are not delegated"),
    _refused("scram_client_key", None, "write the password"),
    _refused("scram_server_key", None, "write the password"),
    _refused("servicefile", None, "name it with the variable PGSERVICEFILE"),
    _refused("min_protocol_version", "PGMINPROTOCOLVERSION", "the driver speaks version 3.0"),
    _refused("max_protocol_version", "PGMAXPROTOCOLVERSION", "the driver speaks version 3.0"),
    _refused("oauth_issuer", None, "the driver cannot log in with OAuth"),
    _refused("oauth_client_id", None, "the driver cannot log in with OAuth"),
    _refused("oauth_client_secret", None, "the driver cannot log in with OAuth"),
    _refused("oauth_scope", None, "the driver cannot log in with OAuth"),
    _refused("authtype", None, "it has no meaning any more; take it out"),
    _refused("tty", None, "it has no meaning any more; take it out"),
)

BY_NAME: Final = {option.name: option for option in OPTIONS if option.name is not None}
# libpq's own, which this program acts on instead of the driver
HANDLED: Final = frozenset(
    {"connect_timeout", "load_balance_hosts", "gssencmode", "channel_binding", "service"}
)
