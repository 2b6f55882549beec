"""A password stays out of every message, wherever it was written by mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeperd.config.files.loading import load_config
from sweeperd.config.files.render import render
from sweeperd.errors import ConfigError
from sweeperd.log.safe_text import bounded, presentable, redact
from tests.cli.command import sweeperd

SECRET = "S3CR3T"
LOGIN = f"postgresql://u:{SECRET}@h/db"
GOOD = '[databases.a]\ndsn = "postgresql://u@h/db"\n'
SWEEP = '[sweeps.x]\ntable = "t"\ncolumn = "c"\nkeep = "0s"\n'

DSNS = [
    LOGIN,
    f"postgresql://u:pa?{SECRET}@h/db",
    f"postgresql://u:pa/{SECRET}@h/db",
    f"postgresql://u:pa#{SECRET}@h/db",
    f"postgresql://u:pa {SECRET}@h/db",
    f"postgresql://u:pa@{SECRET}@h/db",
    f"postgresql://u:pa%{SECRET}@h/db",
    f"postgresql://u:pa%00{SECRET}@h/db",
    f"postgresql://u:pa[{SECRET}@h/db",
    f"postgresql://u:{SECRET}@h:port/db",
    f"postgresql://u:{SECRET}@h:99999/db",
    f"postgresql://u:{SECRET}@h,/db",
    f"postgresql://u:{SECRET}",
    f"postgresql://u:{SECRET}/db",
    f"postgresql://u@h:{SECRET}/db",
    f"postgresql://h/db?user=u&password=pa&{SECRET}",
    f"postgresql://h/db?password={SECRET}&x=1",
    f"postgresql://h/db?pass%77ord={SECRET}",
    f"postgresql://h/db?password={SECRET}&sslmode=no",
    f"postgresql://h/db?{SECRET}",
    f"postgresql://h/db?{SECRET}=1",
    f"postgresql://h/db?sslmode={SECRET}",
    f"postgresql://h/db?passwd={SECRET}",
    f"postgres:/u:{SECRET}@h/db",
    f"mysql://u:{SECRET}@h/db",
    f"{SECRET}://u@h/db",
    f"u:{SECRET}@h/db",
    SECRET,
    f"{SECRET}=1",
    f"host=h user=u password={SECRET} sslmode=no",
    f"host=h user=u password='{SECRET} sslmode=no",
    f"host=h user=u password=pa {SECRET}",
    f"host=h user=u password=pa {SECRET}=1",
    f"host=h user=u password='pa'{SECRET}",
    f"host=h user=u passwd={SECRET}",
    f"host=h port={SECRET}",
    f"host=h sslmode={SECRET}",
    f"host=h password = {SECRET} port=0",
]
VALUES = [
    "{value}", "[{value}]", "{{password = {value}}}", "{{{value} = 1}}", "[[{value}]]",
    "'''\n{bare}'''",
]  # fmt: skip
KEYS = ["password", "passwd", "pw", "password_file", "password_env", "password_credential",
        "max_connections", "max_clock_skew", "health", "name", "user", SECRET,
        f"'{LOGIN}'"]  # fmt: skip
SECRETS = (SECRET, LOGIN, f"/{SECRET}", f"a b{SECRET}", f"12{SECRET}", f"host=h password={SECRET}")


def texts() -> list[str]:
    found = [f"[databases.a]\ndsn = {json.dumps(dsn)}\n{SWEEP}" for dsn in DSNS]
    for secret in (
        SECRET,
        LOGIN,
        f"/{SECRET}",
        f"a b{SECRET}",
        f"12{SECRET}",
        f"host=h password={SECRET}",
    ):
        for shape in VALUES:
            value = shape.format(value=json.dumps(secret), bare=secret)
            found += [f"{GOOD}{key} = {value}\n{SWEEP}" for key in KEYS]
            found += [f"[databases.a]\ndsn = {value}\n{SWEEP}"]
        value = json.dumps(secret)
        found += [
            f"databases = {value}\n{SWEEP}",
            f"databases.a = {value}\n{SWEEP}",
            f"databases.a = [{value}]\n{SWEEP}",
            f"databases = [{value}]\n{SWEEP}",
            f"[[databases.a]]\ndsn = {value}\n{SWEEP}",
            f"password = {value}\n{GOOD}{SWEEP}",
            f"{GOOD}{SWEEP}password = {value}\n",
            f"{GOOD}{SWEEP}dsn = {value}\n",
            f"{GOOD}{SWEEP}[daemon]\npassword = {value}\n",
            f"{GOOD}{SWEEP}[defaults]\npassword = {value}\n",
            f"{GOOD}dsn = {value}\n{SWEEP}",
            f"{GOOD}password = {secret}\n{SWEEP}",
            f'{GOOD}password = "{secret}\n{SWEEP}',
            f"{GOOD}password = '{secret}\" x\n{SWEEP}",
            f"{GOOD}{secret}\n{SWEEP}",
            f"{GOOD}password = {value} {secret}\n{SWEEP}",
            f"{GOOD}health = {{a = {value}, a = {value}}}\n{SWEEP}",
            f"{GOOD}password = {value}\npassword = {value}\n{SWEEP}",
        ]
    for key in ("table", "column", "database", "where", "column_timezone", "window", "unit",
                "strategy", "interval", "archive_to", "before"):  # fmt: skip
        for value in (json.dumps(LOGIN), f"[{json.dumps(LOGIN)}]"):
            found.append(f"{GOOD}[sweeps.x]\nkeep = '0s'\n{key} = {value}\n")
            found.append(f"{GOOD}{SWEEP}[defaults]\n{key} = {value}\n")
    return found


def test_no_shape_of_a_mistake_shows_a_password(tmp_path: Path) -> None:
    path = tmp_path / "sweeperd.toml"
    for text in texts():
        path.write_text(text)
        try:
            config = load_config(path)
            told = repr(config.databases) + render(config)
            config.databases["a"].password()
        except ConfigError as error:
            told = "".join(str(problem) for problem in error.problems)
        # a sweep's own texts are no secrets; what looks like a connection string may be
        assert SECRET not in redact(told) if "table = " in told else SECRET not in told, text


@pytest.mark.parametrize("command", ["check", "run", "sweep"])
@pytest.mark.parametrize(
    "text",
    [
        f'databases.a = "{LOGIN}"\n',
        f'[databases.a]\ndsn = "postgresql://u:pa?{SECRET}@127.0.0.1:1/db"\n',
        f'[databases.a]\ndsn = "host=127.0.0.1 port=1 user=u"\npassword_file = "/{SECRET}"\n',
        f'[databases.a]\ndsn = "host=127.0.0.1 port=1 user=u"\npassword_env = "{SECRET}"\n',
        f'[databases.a]\ndsn = "host=u:{SECRET} port=1 user=u"\n',
        f'[databases.a]\ndsn = "host=127.0.0.1 port=1 user=u password={SECRET}\uff21"\n',
    ],
)
async def test_no_command_shows_a_password(tmp_path: Path, command: str, text: str) -> None:
    path = tmp_path / "sweeperd.toml"
    path.write_text(f"{text}{SWEEP}")
    options = {"check": ("--print", "--json"), "run": (), "sweep": ("--json",)}[command]
    if command == "run":
        path.write_text(f"{text}{SWEEP}colour = 1\n")

    result = await sweeperd(command, f"--config={path}", *options)

    assert result.code
    assert SECRET not in result.out + result.err


@pytest.mark.parametrize("dsn", DSNS)
def test_a_connection_string_in_a_message_loses_its_password(dsn: str) -> None:
    if SECRET in {dsn, dsn.partition("=")[0], dsn.partition("://")[0]} or "password" not in dsn:
        return
    # what follows a blank is another word to everybody but the one who wrote it
    assert SECRET not in redact(f"cannot use {dsn!r}: refused").replace(f"*** {SECRET}", "")


def test_a_cut_does_not_uncover_a_password() -> None:
    text = f"{'x' * 100} postgresql://user:{SECRET}{'y' * 100}@h/db"
    for limit in range(100, len(text)):
        assert SECRET not in presentable(bounded(text, limit))
