"""What goes from where: a table and what makes its rows expired; a statement and its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeperd.postgres.sql.expired import (
    Args,
    Condition,
    Expired,
    builtin,
    quote,
)
from sweeperd.postgres.sql.references import ForeignKey


@dataclass(frozen=True)
class Statement:
    """SQL text and its parameters, in order."""

    text: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table as a FROM clause names it.

    Attributes:
        schema: Schema, as the catalogue has it.
        name: Name, as the catalogue has it.
        only: Leave out children (``ONLY``).
        alias: Name that the operator's ``where`` knows the table by, for a leaf.
    """

    schema: str
    name: str
    only: bool = True
    alias: str | None = None

    @property
    def quoted(self) -> str:
        """The qualified, quoted name."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    @property
    def source(self) -> str:
        """The table for FROM and DELETE FROM."""
        only = "ONLY " if self.only else ""
        alias = f" AS {quote(self.alias)}" if self.alias and self.alias != self.name else ""
        return f"{only}{self.quoted}{alias}"

    @property
    def reference(self) -> str:
        """The name that columns of this table are qualified by."""
        return quote(self.alias or self.name)

    def column(self, name: str) -> str:
        """Return a column, qualified."""
        return f"{self.reference}.{quote(name)}"


@dataclass(frozen=True)
class Target:
    """One table and what goes from it.

    Attributes:
        table: The table.
        expired: What makes a row expired.
        where: A further condition of the operator's.
        two_steps: The operator's text may read other tables: rows are locked first, and
            deleted by a second statement, whose new snapshot sees the other tables as they
            are. Within one statement a recheck would see them as they were.
        kept_by: Foreign keys that keep the rows that they refer to.
        cascades: Foreign keys by which rows of the table itself are deleted along. So rows are
            locked first, and deleted only with all rows below them.
    """

    table: Table
    expired: Expired | Condition
    where: str | None = None
    two_steps: bool = False
    kept_by: tuple[ForeignKey, ...] = ()
    cascades: tuple[ForeignKey, ...] = ()

    @property
    def column(self) -> Expired:
        """The column's own predicate.

        Raises:
            TypeError: The sweep has a condition instead; block ranges never ask.
        """
        if isinstance(self.expired, Condition):
            raise TypeError("a condition has no column")
        return self.expired

    @property
    def qualified_column(self) -> str:
        """The column, qualified by the table's name."""
        return f"{self.table.reference}.{quote(self.column.column)}"

    @property
    def base_value(self) -> str:
        """The column as its base type: the driver looks any other type up in the catalogues."""
        return f"{self.qualified_column}::{builtin(self.column.type_name)}"

    def condition(self, args: Args) -> str:
        """Return the expired predicate, the operator's ``where`` included."""
        expired = self.expired.condition(args, self.table.reference)
        return f"{expired} AND ({self.where}\n)" if self.where else expired

    @property
    def unreferenced(self) -> str:
        """The rest of a WHERE: nobody refers to the row.

        It stands beside the expired predicate: inside IS TRUE it would be a SubPlan for each row.
        """
        row = self.table.reference
        return "".join(f" AND NOT {key.exists(row)}" for key in self.kept_by)

    @property
    def referenced(self) -> str:
        """The condition that somebody refers to a row by one of these keys."""
        row = self.table.reference
        return "(" + (" OR ".join(key.exists(row) for key in self.kept_by) or "false") + ")"
