"""Reading the configuration: what is good, and one clear message for each thing that is not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sweeperd.config.files.loading import load_config
from sweeperd.config.order import in_order
from sweeperd.errors import ConfigError

DATABASE = '[databases.app]\ndsn = "postgresql://u@h/app"\n'
SWEEP = '[sweeps.x]\ntable = "t"\ncolumn = "c"\nkeep = "0s"\n'


def write(directory: Path, text: str | bytes, name: str = "sweeperd.toml") -> Path:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.exit_code == 78
    return [str(problem).replace(f"{path.parent}/", "") for problem in caught.value.problems]


def test_ten_lines_are_enough(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, DATABASE + SWEEP + 'interval = "6h"\ntimeout = "30s"\n'))

    sweep = config.sweeps["x"]
    assert (sweep.database, sweep.interval, sweep.timeout) == (
        "app",
        timedelta(hours=6),
        timedelta(seconds=30),
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "interval = 6",
            'sweeps.x.interval: 6 is a bare number; write it in quotes with its unit: "6s"',
        ),
        ('interval = "6"', 'sweeps.x.interval: "6" has a number without a unit; write "6s"'),
        ('interval = "6m"', 'sweeps.x.interval: "6m" uses "m", which is unclear; write "6min"'),
        ('interval = "6M"', "months have no fixed length"),
        ('interval = "1y"', "years have no fixed length"),
        ('interval = "-6h"', 'sweeps.x.interval: "-6h" is negative; a duration is 0s or more'),
        ('interval = "0s"', 'sweeps.x.interval: "0s" is too short; it must be 1ms or more'),
        ('timeout = "0s"', 'sweeps.x.timeout: "0s" is too short'),
        ('interval = "99999999999999999999d"', "is too long; the longest is 365250d"),
        ("intervall = 1", "sweeps.x.intervall: is not a known key; did you mean interval?"),
        ('name = "y"', "sweeps.x.name: is not a known key"),
        ('strategy = "heep"', '"heep" is not one of auto, index, heap; did you mean heap?'),
        ("workers = 0", "sweeps.x.workers: 0 must be 1 or more"),
        ("workers = 9", "sweeps.x.workers: 9 is more than databases.app.max_connections, 4"),
        ('workers = "2"', 'sweeps.x.workers: "2" must be a whole number'),
        ("max_rows = 1.5", "sweeps.x.max_rows: 1.5 must be a whole number"),
        ("enabled = 1", "sweeps.x.enabled: 1 must be true or false"),
        ('where = "a) OR (b"', 'closes ")" without "(" before it; it must be one expression'),
        ('where = "a; DROP TABLE t"', 'contains ";"'),
        ('where = "a -- b"', "contains a comment"),
        ('where = "a = \'"', "leaves the quote ' open"),
        ('where = ""', "is empty; write an SQL condition"),
        ('where = "a\\u0000b"', "sweeps.x.where: contains a NUL character; take it out"),
        ('window = "25:00-26:00"', "impossible time"),
        ('window = "1-2 Mars"', "is not a window"),
        ('window = "01:00-02:00 Mars/Base"', '"Mars/Base" is not a time zone'),
        ('unit = "epoch"', '"epoch" is not one of timestamptz, timestamp'),
        ('unit = "timestamp"', "sweeps.x.column_timezone: is required"),
        ('unit = "iso8601"\ncolumn_timezone = "Europe/Berlin"', 'only "UTC" can'),
        ('unit = "epoch_s"\ncolumn_timezone = "UTC"', "means nothing with unit"),
        ('condition = "d < :cutoff"', "sweeps.x.column: cannot stand beside condition"),
        ('database = "ap"', 'sweeps.x.database: "ap" is not configured; did you mean app?'),
        ('archive_to = "file:a/b"', '"a/b" is not the name of an archive'),
        ('partitions = "drop"\nwhere = "a"', "cannot stand beside where"),
        ('batch_target = "1min"', "is longer than timeout"),
        (
            'preset = "django-session"',
            '"django-session" is not a preset; did you mean django-sessions?',
        ),
        ("max_fraction = 2", "sweeps.x.max_fraction: 2 must be 1.0 or less"),
        ("max_jump = 1", 'sweeps.x.max_jump: 1 must be a number above 1, or "off"'),
        ("max_jump = true", 'sweeps.x.max_jump: true must be a number above 1, or "off"'),
        ('max_jump = "10"', 'sweeps.x.max_jump: "10" must be a number above 1, or "off"'),
        ("max_jump = inf", 'sweeps.x.max_jump: inf must be a number above 1, or "off"'),
        ("max_jump = nan", 'sweeps.x.max_jump: nan must be a number above 1, or "off"'),
    ],
)
def test_a_bad_key_is_told_with_its_line_and_a_cure(tmp_path: Path, line: str, said: str) -> None:
    found = problems(write(tmp_path, DATABASE + SWEEP + line + "\n"))

    assert len(found) == (1 if "condition" not in line else 2)
    assert said in found[0]
    line_number = int(found[0].split(":")[1])
    assert line_number == (3 if "required" in said else 7) or "condition" in said or "\n" in line


BEFORE = (
    '[sweeps.{name}]\ntable = "{name}"\ncolumn = "e"\nkeep = "0s"\n'
    'database = "{database}"\nbefore = [{before}]\n'
)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ({"a": "'b'", "b": ""}, None),
        ({"a": "'a'", "b": ""}, "sweeps.a.before: names the sweep itself"),
        ({"a": "'bb'", "b": ""}, 'sweeps.a.before: "bb" is not a sweep'),
        ({"a": "'b'", "b": "'c'", "c": "'a'"}, "goes in a circle: a before b before c before a"),
        ({"a": "'b'", "b": "'a'"}, "goes in a circle"),
        ({"a": "'x'", "x": ""}, "no rows refer across"),
    ],
)
def test_an_order_that_cannot_be_is_told(
    tmp_path: Path, before: dict[str, str], said: str | None
) -> None:
    text = DATABASE + DATABASE.replace("app", "other")
    for name, others in before.items():
        text += BEFORE.format(name=name, database="other" if name == "x" else "app", before=others)
    path = write(tmp_path, text)

    if said is None:
        assert load_config(path).sweeps["a"].before == ("b",)
    else:
        found = problems(path)
        assert len(found) == 1
        assert said in found[0]


def test_sweeps_are_put_in_order_and_else_stay_as_they_were(tmp_path: Path) -> None:
    order = {"p": "", "b": "'p'", "z": "", "a": "'b', 'p'", "q": ""}
    text = DATABASE + "".join(
        BEFORE.format(name=name, database="app", before=others) for name, others in order.items()
    )

    config = load_config(write(tmp_path, text))

    assert [one.name for one in in_order(config.sweeps.values())] == ["z", "a", "q", "b", "p"]


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("mysql://u@h/d", 'databases.app.dsn: has the scheme "mysql"; write postgresql://'),
        ("postgresql://u:secret@h:port/d", "is 1 to 65535"),
        ("postgresql://u:sec ret@h/d", "contains a blank"),
        ("u:secret@h", "is not a connection string"),
        ("", "is empty"),
        ("host=h user=u password='secret sslmode=no", "is not a key=value string"),
    ],
)
def test_a_bad_dsn_is_told_without_its_password(tmp_path: Path, dsn: str, said: str) -> None:
    found = problems(write(tmp_path, f'[databases.app]\ndsn = "{dsn}"\n{SWEEP}'))

    assert said in found[0]
    assert "sec" not in "".join(found).replace("a second", "")


def test_two_dsns_name_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path, DATABASE + 'dsn = "postgresql://u@h/other"\n' + SWEEP)

    assert problems(path) == [
        "sweeperd.toml:3: databases.app.dsn: is given twice, first in line 2; keep one"
    ]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path / "no.toml") == [
        "no.toml: there is no such file; write it, or name another with --config"
    ]


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_empty_file_is_told(tmp_path: Path, text: str) -> None:
    assert "sweeperd.toml: is empty; write a [databases.NAME]" in problems(write(tmp_path, text))[0]


def test_bytes_that_are_not_utf8_are_told_with_their_line(tmp_path: Path) -> None:
    found = problems(write(tmp_path, DATABASE.encode() + b"# caf\xe9\n"))

    assert found == ["sweeperd.toml:3: is not UTF-8 (byte 0xe9); save the file as UTF-8"]


def test_a_syntax_error_has_its_line_and_no_secret(tmp_path: Path) -> None:
    text = '[databases.app]\ndsn = "postgresql://u:secret@h/d\n'

    found = problems(write(tmp_path, text))

    assert found[0].startswith("sweeperd.toml:2: is not valid TOML at column")
    assert "secret" not in found[0]


def test_a_name_defined_twice_gives_both_places(tmp_path: Path) -> None:
    path = write(tmp_path, DATABASE + SWEEP)
    write(tmp_path, "# more\n" + SWEEP, "conf.d/10.toml")

    assert problems(path) == [
        "conf.d/10.toml:2: sweeps.x: is defined twice, first at sweeperd.toml:3; keep one"
    ]


def test_conf_d_is_read_in_name_order_beside_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, DATABASE)
    write(tmp_path, SWEEP.replace("sweeps.x", "sweeps.b"), "conf.d/20.toml")
    write(tmp_path, SWEEP.replace("sweeps.x", "sweeps.a").replace('"t"', '"u"'), "conf.d/10.toml")
    write(tmp_path, "nonsense", "conf.d/readme.txt")

    assert list(load_config(path).sweeps) == ["a", "b"]


def test_the_same_table_column_and_where_twice_is_refused(tmp_path: Path) -> None:
    again = SWEEP.replace("sweeps.x", "sweeps.y") + 'where = "a  =  1"\n'
    path = write(tmp_path, DATABASE + SWEEP + 'where = "a = 1"\n' + again)

    assert "sweeps.y: sweeps the same table, column and where as sweeps.x" in problems(path)[0]


def test_another_where_makes_another_sweep(tmp_path: Path) -> None:
    again = SWEEP.replace("sweeps.x", "sweeps.y") + 'where = "a = 2"\n'

    assert (
        len(load_config(write(tmp_path, DATABASE + SWEEP + 'where = "a = 1"\n' + again)).sweeps)
        == 2
    )


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = '[databases.app]\ndsn = "x"\n[sweeps.x]\ninterval = 1\ncolour = 2\n[sweep.y]\n'

    found = problems(write(tmp_path, text))

    assert [place.split(" ")[0] for place in found] == [
        "sweeperd.toml:2:", "sweeperd.toml:3:", "sweeperd.toml:3:", "sweeperd.toml:3:",
        "sweeperd.toml:4:", "sweeperd.toml:5:", "sweeperd.toml:6:",
    ]  # fmt: skip
    assert "did you mean sweeps?" in found[-1]


def test_defaults_reach_each_sweep_and_are_told_once(tmp_path: Path) -> None:
    sweeps = SWEEP + SWEEP.replace("sweeps.x", "sweeps.y").replace('"t"', '"u"')
    good = write(tmp_path, '[defaults]\ninterval = "1h"\n' + DATABASE + sweeps)
    assert {sweep.interval for sweep in load_config(good).sweeps.values()} == {timedelta(hours=1)}

    bad = write(tmp_path, "[defaults]\ninterval = 1\n" + DATABASE + sweeps)
    assert len(problems(bad)) == 1

    table = write(tmp_path, '[defaults]\ntable = "t"\n' + DATABASE + sweeps)
    assert "defaults.table: belongs to each sweep" in problems(table)[0]


def test_a_sweep_without_database_names_the_choices(tmp_path: Path) -> None:
    two = DATABASE + DATABASE.replace("databases.app", "databases.web")

    assert "write one of app, web" in problems(write(tmp_path, two + SWEEP))[0]


def test_lines_are_right_behind_strings_and_arrays_over_several_lines(tmp_path: Path) -> None:
    text = DATABASE + SWEEP + 'where = """\n[sweeps.no]\na = 1\n"""\n# [sweeps.z]\nworkers = 0\n'

    found = problems(write(tmp_path, text))

    assert found[0].startswith("sweeperd.toml:12: sweeps.x.workers")
