"""SQL that asks the server how it understands an expression, and what that expression uses."""

from __future__ import annotations

from typing import Final

from sweeperd.postgres.sql.expired import Args, Condition
from sweeperd.postgres.sql.literals import Literals
from sweeperd.postgres.sql.target import Statement, Table

# From here on the server tells this client, and its own log, how it reads each statement.
SHOW_TREES: Final = (
    "SET LOCAL client_min_messages = log; SET LOCAL debug_pretty_print = off; "
    "SET LOCAL debug_print_parse = on"
)
# PostgreSQL 15 and newer; 14 knows no such privilege, and there only a superuser may
MAY_QUIET: Final = "SELECT pg_catalog.has_parameter_privilege('log_min_messages', 'SET')"
QUIET: Final = "SET LOCAL log_min_messages = panic"


def parse_only(table: Table, pieces: tuple[str, ...]) -> Statement:
    """Return a query that holds an operator's text cut at ``:cutoff``; it is parsed, never run."""
    text = Condition(pieces, 0).condition(Args(), table.reference)
    return Statement(f"SELECT FROM {table.source} WHERE {text}")


def parse_between_brackets(table: Table, pieces: tuple[str, ...]) -> Statement:
    """Return a query that is wrong unless an operator's text is balanced; it is never run.

    What leaves parentheses begins by closing one, and nothing closes these brackets but their own
    kind. So a text that can be parsed here and between parentheses leaves neither; nor is it a
    subquery, which needs parentheses of its own here.
    """
    text = Condition(pieces, 0).text(Literals())
    return Statement(f"SELECT FROM {table.source} WHERE ARRAY[{text}\n] IS NULL")


FUNCTIONS: Final = """
SELECT p.oid, n.nspname AS schema, p.proname AS name, p.provolatile::text AS volatility,
  p.prorettype AS result, p.proargtypes::oid[] AS arguments, p.proowner AS owner,
  l.lanname AS language, p.prokind::text AS kind,
  EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) AS c
    WHERE pg_catalog.lower(c) OPERATOR(pg_catalog.~~) 'timezone=%') AS own_time_zone
FROM pg_catalog.pg_proc AS p
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
  JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang
WHERE p.oid OPERATOR(pg_catalog.=) ANY ($1::oid[])"""

OPERATORS: Final = """
SELECT o.oid, n.nspname AS schema, o.oprname AS name, o.oprcode::oid AS function,
  o.oprowner AS owner,
  CASE WHEN o.oprleft OPERATOR(pg_catalog.<>) 0 THEN
    pg_catalog.format_type(o.oprleft, NULL) || ' ' ELSE '' END
    || o.oprname || ' ' || pg_catalog.format_type(o.oprright, NULL) AS shown
FROM pg_catalog.pg_operator AS o
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace
WHERE o.oid OPERATOR(pg_catalog.=) ANY ($1::oid[])"""

# each type with those that its values are made of: domains, arrays, ranges, rows
TYPES: Final = """
WITH RECURSIVE parts(root, oid) AS (
  SELECT t, t FROM pg_catalog.unnest($1::oid[]) AS t
  UNION
  SELECT parts.root, below.oid FROM parts
    JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) parts.oid
    CROSS JOIN LATERAL (
      SELECT t.typbasetype
      UNION ALL SELECT t.typelem
      UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range AS r
        WHERE r.rngtypid OPERATOR(pg_catalog.=) t.oid
          OR r.rngmultitypid OPERATOR(pg_catalog.=) t.oid
      UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
        WHERE t.typtype OPERATOR(pg_catalog.=) 'c'
          AND a.attrelid OPERATOR(pg_catalog.=) t.typrelid
          AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
    ) AS below(oid) WHERE below.oid OPERATOR(pg_catalog.<>) 0)
SELECT t.oid, n.nspname AS schema, t.typname AS name, t.typowner AS owner,
  pg_catalog.format_type(t.oid, NULL) AS shown, t.typinput::oid AS input,
  t.typoutput::oid AS output,
  ARRAY(SELECT p.oid FROM parts AS p WHERE p.root OPERATOR(pg_catalog.=) t.oid) AS parts
FROM pg_catalog.pg_type AS t
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
WHERE t.oid OPERATOR(pg_catalog.=) ANY ($1::oid[])"""

# a view, as the rewriter will put it in place of its name
VIEWS: Final = """
SELECT c.oid, c.relkind::text AS kind, r.ev_action::text AS tree
FROM pg_catalog.pg_class AS c
  LEFT JOIN pg_catalog.pg_rewrite AS r ON r.ev_class OPERATOR(pg_catalog.=) c.oid
    AND r.ev_type OPERATOR(pg_catalog.=) '1' AND c.relkind OPERATOR(pg_catalog.=) 'v'
WHERE c.oid OPERATOR(pg_catalog.=) ANY ($1::oid[])"""
