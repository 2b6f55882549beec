"""Mistakes that come from other tools' habits: each is told with what to write instead."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sweeperd.config.files.loading import load_config
from sweeperd.config.values.sql_expression import check_expression
from sweeperd.errors import ConfigError
from tests.config.test_loading import DATABASE, SWEEP, problems, write

PLAIN = '[sweeps.x]\ntable = "t"\n'
RULE = PLAIN + 'condition = "c < :cutoff"\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('interval = "0 3 * * *"', 'write interval = "1d" and window = "03:00-03:30"'),
        ('interval = "30 23 * * *"', 'write interval = "1d" and window = "23:30-00:00"'),
        ('interval = "0 0 4 * * ?"', 'write interval = "1d" and window = "04:00-04:30"'),
        ('interval = "*/15 * * * *"', 'write interval = "15min"'),
        ('interval = "0 */6 * * *"', 'write interval = "6h"'),
        ('interval = "5 * * * *"', 'write interval = "1h"'),
        ('interval = "0 3 * * MON-FRI"', "is a cron expression; intervals are durations"),
        ('timeout = "0 3 1 * *"', "is a cron expression"),
        ('catch_up = "* * * * *"', "is a cron expression"),
        ('interval = "@daily"', 'names a schedule; intervals are durations: write "1d"'),
        ('interval = "hourly"', 'write "1h"'),
        ('interval = "*-*-* 03:00:00"', "is a calendar event"),
        ('interval = "every 6h"', 'write the length alone: "6h"'),
        ('interval = "PT6H"', 'is an ISO 8601 duration; write "6h"'),
        ('interval = "P1DT12H30M"', 'is an ISO 8601 duration; write "1d 12h 30min"'),
        ('interval = "P1M"', "years or months, of no fixed length; write days"),
        ('interval = "06:00"', 'for the length write "6h"'),
        ('interval = "1:30:00"', 'for the length write "1h 30min"'),
        ('window = "0 3 * * *"', "a window is two times of day"),
    ],
)
def test_schedules_of_other_tools(tmp_path: Path, line: str, said: str) -> None:
    (problem,) = problems(write(tmp_path, DATABASE + SWEEP + line + "\n"))

    assert said in problem
    assert f"sweeps.x.{line.split(maxsplit=1)[0]}: " in problem


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ('"30 days ago"', 'write the length alone: "30d"'),
        ("30", 'bare number; write it in quotes with its unit: "30s"'),
        ('"P30D"', 'write "30d"'),
        ('"1 month"', '"30d" for 1 x 30 days'),
        ('"30 days"', 'write "30d"'),
    ],
)
def test_lengths_of_other_tools(tmp_path: Path, keep: str, said: str) -> None:
    (problem,) = problems(write(tmp_path, DATABASE + PLAIN + f'column = "c"\nkeep = {keep}\n'))

    assert "sweeps.x.keep: " in problem
    assert said in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("WHERE a = 1", "begins with WHERE; write only the condition that follows it"),
        ("  where a = 1", "begins with WHERE"),
        ("DELETE FROM t WHERE a = 1", "begins with DELETE; write only a condition"),
        ("SELECT 1", "begins with SELECT"),
        ("UPDATE t SET a = 1", "begins with UPDATE"),
        ("a = 1;", 'ends with ";"; take it out'),
        ("a = $1", "the only parameter is :cutoff"),
        ("a < ?", 'contains the placeholder "?"'),
        ("(a < ?)", 'contains the placeholder "?"'),
        ("a < ? AND b", 'contains the placeholder "?"'),
        ("a < %s", 'contains a placeholder with "%"'),
        ("a < %(limit)s", 'contains a placeholder with "%"'),
        ("a < :now", "as a parameter; the only parameter is :cutoff"),
        ("a = NULL", "compares with NULL, which is never true; write IS NULL"),
        ("a <> null", "compares with NULL"),
    ],
)
def test_expressions_of_other_tools(tmp_path: Path, text: str, said: str) -> None:
    for key, head in (("where", DATABASE + SWEEP), ("condition", DATABASE + PLAIN)):
        (problem,) = problems(write(tmp_path, f"{head}{key} = '{text}'\n"))
        assert f"sweeps.x.{key}: " in problem
        assert said in problem


@pytest.mark.parametrize(
    "text",
    [
        "payload ? 'exp'",
        "payload ?| ARRAY['a']",
        "payload ?& ARRAY['a'] AND payload @? '$.a'",
        "a % s = 1",
        "a %s = 1",
        "a % (b) = 1",
        "a IS NULL AND b IS DISTINCT FROM NULL",
        "f(x => NULL) AND a >= 1",
        "a = nullable",
        "note = 'WHERE ? $1 :x = NULL; %s'",
        'x."select" AND "where"',
        "deleted AND update_count > 1",
        "delete AND update IS NULL",
        "wherever = 1 AND selected",
        "tags[1:n] = '{}' AND tags[:2] = tags[a:b]",
        "a::text = 'b'",
    ],
)
def test_what_only_looks_like_a_mistake_is_let_be(text: str) -> None:
    assert check_expression(text) is None


def test_cutoff_belongs_to_condition(tmp_path: Path) -> None:
    (problem,) = problems(write(tmp_path, DATABASE + SWEEP + 'where = "d < :cutoff"\n'))

    assert "sweeps.x.where: contains :cutoff, which only condition knows" in problem
    assert "as condition in place of column, keep and where" in problem
    load_config(write(tmp_path, DATABASE + SWEEP + "where = \"d <> ':cutoff'\"\n"))


def test_condition_says_how_a_row_is_kept(tmp_path: Path) -> None:
    (problem,) = problems(write(tmp_path, DATABASE + RULE + 'keep = "30d"\n'))

    assert ":cutoff - interval '720 hours' keeps 30 days" in problem


@pytest.mark.parametrize("head", [RULE, SWEEP + 'unit = "epoch_s"\nwhere = "a < now()"\n'])
def test_column_timezone_may_stand_beside_an_expression(tmp_path: Path, head: str) -> None:
    config = load_config(write(tmp_path, DATABASE + head + 'column_timezone = "Asia/Tokyo"\n'))

    assert config.sweeps["x"].expression_timezone == "Asia/Tokyo"


def test_long_texts_are_judged_in_linear_time(tmp_path: Path) -> None:
    begun = time.monotonic()
    for unit in ("? ", "%s ", "= null", ": ", "* ", "1 ", "1-", "update ", "P1", "a1:"):
        check_expression(f"a + {unit * 50_000}")
        with pytest.raises(ConfigError):
            load_config(write(tmp_path, DATABASE + SWEEP + f'interval = "{unit * 50_000}"\n'))
    assert time.monotonic() - begun < 30
