"""What a server or a stranger wrote reaches no terminal, pipe or log as it is."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest

from sweeperd.log.safe_text import LONGEST_TEXT, one_line, safe_json
from tests.cli.command import configured, on_a_terminal, sweep_table, sweeperd
from tests.conftest import TestDatabase

# a title, a cleared screen, a line of our own look, markup, C1, bidi controls, an invisible letter
EVIL = (
    "\x1b]0;OWNED\x07\x1b[2J\nok       sweeps.forged: fine\r[/app][bold]:smile:\x9b2J"
    "\u202eab\u2066\u200bx"
)
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
FORGED = re.compile(r"^ok\s+sweeps\.forged", re.MULTILINE)


def name(text: str) -> str:
    """Return a quoted identifier; 63 bytes is all a name may have."""
    return '"' + text.encode()[:60].decode(errors="ignore").replace('"', "") + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


async def hostile(database: TestDatabase) -> None:
    """Fill a table whose every name, key and message is meant for the terminal."""
    await database.execute(
        f"CREATE TABLE {name(EVIL)} (id text PRIMARY KEY, expires_at timestamptz, n int);"
        f"INSERT INTO {name(EVIL)} VALUES ({literal(EVIL)}, '2000-01-01', 1),"
        " ('plain', '2000-01-01', 2), ('young', 'infinity', 3);"
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
        f" RAISE NOTICE '%', {literal(EVIL)};"
        f" IF OLD.n = 1 THEN RAISE EXCEPTION USING MESSAGE = {literal(EVIL)},"
        f" DETAIL = {literal(EVIL)}, HINT = {literal(EVIL)}; END IF; RETURN OLD; END $f$;"
        f"CREATE TRIGGER {name('t' + EVIL)} BEFORE DELETE ON {name(EVIL)}"
        " FOR EACH ROW EXECUTE FUNCTION refuse()"
    )


COMMANDS = [
    ("check",),
    ("check", "--json"),
    ("check", "--print"),
    ("sweep",),
    ("sweep", "--json"),
    ("sweep", "--dry-run"),
    ("sweep", f"no{EVIL}"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("message", [EVIL, "[/app]", "[bold", "[link=x]y"])
async def test_a_hostile_server_steers_nothing(
    database: TestDatabase, tmp_path: Path, command: tuple[str, ...], message: str
) -> None:
    await hostile(database)
    if message != EVIL:
        await database.execute(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
            f" RAISE EXCEPTION USING MESSAGE = {literal(message)}; END $f$"
        )
    option = configured(tmp_path, database, sweep_table(table=name(EVIL)))

    piped = await sweeperd(*command, option, STATE_DIRECTORY=str(tmp_path / "state"))
    shown = await on_a_terminal(*command, option, state=str(tmp_path / "state"))

    assert not RAW.search(piped.out), RAW.search(piped.out)
    assert not RAW.search(piped.err), RAW.search(piped.err)
    for text in (piped.out, piped.err, shown.replace("\r\n", "\n")):
        assert not FORGED.search(text)
        assert "Traceback" not in text
    for raw in ("\x1b]0", "\x07", "\x1b[2J", "\x9b", "\u202e", "\u2066", "\u200b"):
        assert raw not in shown
    if "--json" in command:
        json.loads(piped.out)


@pytest.mark.parametrize("command", ["check", "sweep", "run"])
async def test_a_hostile_configuration_steers_nothing(tmp_path: Path, command: str) -> None:
    text = json.dumps(EVIL)
    path = tmp_path / "sweeperd.toml"
    path.write_text(
        f"[databases.{text}]\ndsn = {text}\n[sweeps.x]\ntable = {text}\ninterval = {text}\n"
        f"strategy = {text}\nwindow = {text}\n{text} = {text}\nbefore = [{text}]\n[{text}]\n"
    )

    result = await sweeperd(command, f"--config={path}")

    assert result.code == 78
    assert not RAW.search(result.out + result.err)
    assert not FORGED.search(result.out + result.err)


async def test_a_login_error_steers_nothing(database: TestDatabase, tmp_path: Path) -> None:
    evil = "\x1b[2J\x9b\u202e"
    option = configured(tmp_path, database, dsn=database.dsn.replace("/test_", "/%1B%5B2J%C2%9B"))

    for command in ("check", "sweep"):
        result = await sweeperd(command, option, STATE_DIRECTORY=str(tmp_path / "state"))
        assert result.code == 69
        assert not set(evil[:1] + "\x9b") & set(result.out + result.err)


async def test_a_message_of_megabytes_is_cut_wherever_it_is_kept(
    database: TestDatabase, tmp_path: Path
) -> None:
    await database.execute(
        "CREATE TABLE t (id text, expires_at timestamptz);"
        "INSERT INTO t SELECT repeat(g::text, 1000000), '2000-01-01' FROM generate_series(1, 3) g;"
        "INSERT INTO t VALUES ('young', 'infinity');"
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
        " RAISE EXCEPTION USING MESSAGE = repeat('m', 20000000), DETAIL = repeat('d', 1000000);"
        " END $f$;"
        "CREATE TRIGGER t BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    option = configured(tmp_path, database)

    result = await sweeperd("sweep", "--json", option, STATE_DIRECTORY=str(tmp_path / "state"))

    (report,) = result.reports
    assert report["skipped_count"] == 3
    assert len(result.out) < 50 * LONGEST_TEXT
    assert max(len(line) for line in result.err.splitlines()) < 20 * LONGEST_TEXT


def test_every_character_that_steers_or_hides_is_escaped() -> None:
    """The invisible ones of Unicode, but for those that are seen as signs of a script."""
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        hides = category == "Cf" and (
            unicodedata.bidirectional(chr(code)) in {"BN", "LRE", "RLE", "PDF", "LRI", "RLI",
                                                     "FSI", "PDI", "LRO", "RLO"}
            or code in {0x200E, 0x200F, 0x61C}
        )  # fmt: skip
        if category in {"Cc", "Cs", "Zl", "Zp"} or hides:
            assert one_line(chr(code)) != chr(code), hex(code)
            if category != "Cs":
                assert json.loads(safe_json(chr(code))) == chr(code)
            assert chr(code) not in safe_json(chr(code))
