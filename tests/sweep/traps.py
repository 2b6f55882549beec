"""Traps: what a stranger creates under the names that the engine's statements hold."""

from __future__ import annotations

import re
from typing import Final

from sweeperd.postgres.sql.expired import quote

SPRUNG: Final = "TRAP SPRUNG"
_LITERAL: Final = re.compile(r"'(?:[^']|'')*'")
_IDENTIFIER: Final = re.compile(r'"(?:[^"]|"")*"')
_OPERATOR: Final = re.compile(r"[-+*/<>=~!@#%^&|`?]+")
_CALL: Final = re.compile(r"([a-z_]\w*)\s*\(", re.IGNORECASE)
_TYPE: Final = re.compile(r"::\s*(?:pg_catalog\.)?([a-z_]\w*)", re.IGNORECASE)
# words that look up an operator without naming it
_IMPLIED: Final = {"=", "<>", "<", "<=", ">", ">=", "~~", "!~~", "~", "||"}

# $1: schema, $2: operators, $3: functions, $4: types. Each is made with every exact list of
# argument types of the server's own, and some operators with lists that it lacks.
_PLANT: Final = """
DO $plant$
DECLARE
    one record; number int := 0; types text[] := ARRAY['numeric', 'integer', 'bigint', 'smallint',
        'text', 'varchar', 'name', 'oid', '"char"', 'tid', 'timestamptz', 'timestamp', 'date',
        'float8', 'real', 'boolean', 'regclass', 'xid8', 'public.moment', 'public.mood'];
BEGIN
    FOR one IN
        SELECT DISTINCT names.name, pairs.l, pairs.r FROM unnest({operators}) AS names(name)
        CROSS JOIN LATERAL (
            SELECT format_type(oprleft, NULL) AS l, format_type(oprright, NULL) AS r
            FROM pg_operator WHERE oprname = names.name AND oprleft <> 0
            UNION SELECT l, r FROM unnest(types) AS l, unnest(types) AS r
            WHERE names.name IN ('=', '<', '<=', '>', '>=', '||')) AS pairs
    LOOP
        number := number + 1;
        BEGIN
            EXECUTE format('CREATE FUNCTION {schema}.trap_%s(%s, %s) RETURNS boolean
                LANGUAGE plpgsql AS $f$ BEGIN RAISE LOG ''{sprung}: %s(%s, %s)'';
                RETURN true; END $f$',
                number, one.l, one.r, one.name, one.l, one.r);
            EXECUTE format('CREATE OPERATOR {schema}.%s (LEFTARG = %s, RIGHTARG = %s,
                FUNCTION = {schema}.trap_%s)', one.name, one.l, one.r, number);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR one IN
        SELECT p.proname AS name, pg_get_function_identity_arguments(p.oid) AS arguments,
               CASE WHEN t.typtype = 'p' THEN 'text' ELSE format_type(t.oid, NULL) END AS result
        FROM pg_proc p JOIN pg_type t ON t.oid = p.prorettype
        WHERE p.proname = ANY ({functions}) AND p.pronamespace = 'pg_catalog'::regnamespace
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION {schema}.%I(%s) RETURNS %s
                LANGUAGE plpgsql AS $f$ BEGIN RAISE LOG ''{sprung}: %s''; RETURN NULL; END $f$',
                one.name, one.arguments, one.result, one.name);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR one IN SELECT name FROM unnest({types}) AS t(name) LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION {schema}.%I(text) RETURNS boolean LANGUAGE plpgsql
                AS $f$ BEGIN RAISE LOG ''{sprung}: type %s''; RETURN true; END $f$',
                'trap_of_' || one.name, one.name);
            EXECUTE format('CREATE DOMAIN {schema}.%I AS pg_catalog.%I
                CHECK ({schema}.%I(VALUE::pg_catalog.text))',
                one.name, one.name, 'trap_of_' || one.name);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
END $plant$
"""


class Names:
    """The operators, functions and types that statements name."""

    def __init__(self, statements: list[str]) -> None:
        self.operators = set(_IMPLIED)
        self.functions: set[str] = set()
        self.types: set[str] = set()
        for statement in statements:
            bare = _IDENTIFIER.sub('""', _LITERAL.sub("''", statement))
            self.operators |= set(_OPERATOR.findall(bare)) - {"*", "-", "--"}
            self.functions |= set(_CALL.findall(bare))
            self.types |= set(_TYPE.findall(bare))

    def plant(self, schema: str) -> str:
        """Return the statement that sets a trap for each."""
        return _PLANT.format(
            schema=quote(schema),
            sprung=SPRUNG,
            operators=_array(self.operators),
            functions=_array(self.functions),
            types=_array(self.types | {"text", "oid", "date", "name", "int8", "tid", "bool"}),
        )


def _array(names: set[str]) -> str:
    listed = ", ".join("'" + name.replace("'", "''") + "'" for name in sorted(names))
    return f"ARRAY[{listed}]::text[]"
