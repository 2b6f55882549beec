"""Foreign keys that refer to a swept table: who refers to a row, as SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sweeperd.postgres.sql.expired import quote

_CHILD: Final = "child"

# Keys onto a table that refuse a delete (NO ACTION, RESTRICT), and its own that cascade. The
# catalogue has a key onto a partitioned table once more for each partition, and one of a
# partitioned child once more for each of its partitions, of which the first stands for all.
# Where a trigger is disabled, or the key is NOT ENFORCED and has none, nothing is refused;
# PostgreSQL 14 has none on a partitioned table. Operands are cast as ri_GenerateQual does
# (utils/adt/ri_triggers.c). A key over a PERIOD compares otherwise.
REFERENCES: Final = """
WITH family AS (
    SELECT relid::oid AS oid
    FROM pg_partition_tree(coalesce(pg_partition_root($1::bigint::regclass)::oid,
                                    $1::bigint::oid)::regclass)
    UNION SELECT $1::bigint::oid
)
SELECT k.conname::text AS name, n.nspname::text AS schema, c.relname::text AS table,
       k.conrelid IN (SELECT oid FROM family) AS refers_to_itself,
       k.confdeltype = 'c' AS cascades, pairs.*
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = k.confrelid
CROSS JOIN LATERAL (
    SELECT array_agg(pa.attname::text ORDER BY x.place) AS columns,
           array_agg(ca.attname::text ORDER BY x.place) AS child_columns,
           array_agg(format('OPERATOR(%I.%s)', opn.nspname, o.oprname) ORDER BY x.place)
               AS operators,
           array_agg(CASE WHEN pa.atttypid <> o.oprleft AND lt.typtype <> 'p'
                     THEN format('::%I.%I', ltn.nspname, lt.typname) ELSE '' END
                     ORDER BY x.place) AS casts,
           array_agg(concat(
               CASE WHEN ca.atttypid <> o.oprright AND rt.typtype <> 'p'
                    THEN format('::%I.%I', rtn.nspname, rt.typname) END,
               CASE WHEN pa.attcollation <> ca.attcollation AND pa.attcollation <> 0
                    THEN format(' COLLATE %I.%I', coln.nspname, col.collname) END)
               ORDER BY x.place) AS child_casts
    FROM unnest(k.confkey, k.conkey, k.conpfeqop) WITH ORDINALITY
         AS x(number, child_number, operator, place)
    JOIN pg_attribute pa ON pa.attrelid = k.confrelid AND pa.attnum = x.number
    JOIN pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = x.child_number
    JOIN pg_operator o ON o.oid = x.operator
    JOIN pg_namespace opn ON opn.oid = o.oprnamespace
    JOIN pg_type lt ON lt.oid = o.oprleft
    JOIN pg_namespace ltn ON ltn.oid = lt.typnamespace
    JOIN pg_type rt ON rt.oid = o.oprright
    JOIN pg_namespace rtn ON rtn.oid = rt.typnamespace
    LEFT JOIN pg_collation col ON col.oid = pa.attcollation
    LEFT JOIN pg_namespace coln ON coln.oid = col.collnamespace
) AS pairs
WHERE k.contype = 'f' AND k.confrelid = $1::bigint::oid
  AND (k.confdeltype IN ('a', 'r') OR k.confdeltype = 'c' AND k.conrelid = k.confrelid)
  AND NOT coalesce((to_jsonb(k) ->> 'conperiod')::bool, false)
  AND coalesce((to_jsonb(k) ->> 'conenforced')::bool, true)
  AND NOT EXISTS (SELECT FROM pg_constraint above
                  WHERE above.oid = k.conparentid AND above.confrelid = k.confrelid)
  AND (p.relkind = 'p' OR EXISTS (
       SELECT FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgrelid = k.confrelid
         AND t.tgenabled IN ('O', 'A') AND (t.tgtype & 8) = 8))
ORDER BY n.nspname, c.relname, k.conname
"""


@dataclass(frozen=True)
class KeyColumn:
    """A pair of columns of a foreign key, with the key's own operator.

    Attributes:
        column: Of the table that is referred to.
        child_column: Of the table that refers.
        operator: Qualified: ``OPERATOR(pg_catalog.=)``.
        cast: To the operator's type, where the column has another one; else empty.
        child_cast: The same of the child's column, and its collation.
    """

    column: str
    child_column: str
    operator: str
    cast: str = ""
    child_cast: str = ""


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key onto a swept table.

    Attributes:
        name: The constraint's name.
        schema: Of the table that refers.
        table: Its name.
        columns: What is compared.
        refers_to_itself: Whether the rows that refer are rows of the very table, or of the
            partitioned table that it belongs to.
        cascades: Whether these rows are deleted along.
    """

    name: str
    schema: str
    table: str
    columns: tuple[KeyColumn, ...]
    refers_to_itself: bool = False
    cascades: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> ForeignKey:
        """Return what `REFERENCES` tells of a key."""
        names = ("columns", "child_columns", "operators", "casts", "child_casts")
        pairs = zip(*(row[name] for name in names), strict=True)
        return cls(
            row["name"],
            row["schema"],
            row["table"],
            tuple(KeyColumn(*pair) for pair in pairs),
            refers_to_itself=row["refers_to_itself"],
            cascades=row["cascades"],
        )

    @property
    def quoted(self) -> str:
        """The qualified, quoted name of the table that refers."""
        return f"{quote(self.schema)}.{quote(self.table)}"

    def match(self, row: str, child: str) -> str:
        """Return the condition that a child's row refers to a row; both are names in FROM."""
        return self.match_values([f"{row}.{quote(pair.column)}" for pair in self.columns], child)

    def match_values(self, values: Sequence[str], child: str) -> str:
        """Return the condition that a child's row refers to a row with these values."""
        return " AND ".join(
            f"{value}{pair.cast} {pair.operator} "
            f"{child}.{quote(pair.child_column)}{pair.child_cast}"
            for value, pair in zip(values, self.columns, strict=True)
        )

    def exists(self, row: str) -> str:
        """Return the condition that somebody refers to a row."""
        child = quote(_CHILD if row != quote(_CHILD) else f"{_CHILD}_")
        return f"EXISTS (SELECT FROM {self.quoted} AS {child} WHERE {self.match(row, child)})"
