"""The messages of a batch, each a simple query: in one of these no bound of the server's has a gap.

In an extended query the server waits between Parse and Bind, where neither statement_timeout nor
idle_in_transaction_session_timeout applies. Each statement of a simple query has a snapshot and a
statement_timeout of its own.

What a batch counts, and what it is to prove, goes through settings of its transaction: so the text
of PROOF is the same in every batch, and pg_stat_statements, which keeps an entry for each text of
a COPY, keeps one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sweeperd.postgres.sql.archive import ArchiveTable, move
from sweeperd.postgres.sql.expired import AT_MOST, EQUAL, Args
from sweeperd.postgres.sql.literals import Literals, quote_literal, set_local
from sweeperd.postgres.sql.rows import delete, delete_skip_locked, free_rows, places_of, unmarked
from sweeperd.postgres.sql.slices import NotedTids, Slice, Versions, version
from sweeperd.postgres.sql.target import Table, Target

# The error's text is ours alone: "invalid input syntax for type integer: ..."
LANE_TAKEN: Final = "sweeperd: another instance works in this lane"
# Deferred checks become part of the DELETE, under its timeout, instead of COMMIT's.
CHECK_AT_ONCE: Final = "SET CONSTRAINTS ALL IMMEDIATE"
# A NOTIFY in a trigger waits for a lock in COMMIT (commands/async.c, PreCommit_Notify), which each
# session that commits a NOTIFY holds for a moment, and none while it waits for a row.
COMMIT: Final = "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '2s'; COMMIT"

FEW_LEFT: Final = 100  # rows of a slice whose places are noted

_TABLES: Final = "sweeperd.tables"
_COLUMNS: Final = "sweeperd.columns"
_DELETED: Final = "sweeperd.deleted"
_SKIPPED: Final = "sweeperd.skipped"
_KEPT: Final = "sweeperd.kept"
_STAYED: Final = "sweeperd.stayed"
_LEFT: Final = "sweeperd.left"
_MARKED: Final = "sweeperd.marked"
_ROWS: Final = "sweeperd.rows"
_PAIRS: Final = "sweeperd.pairs"


def subject(tables: Sequence[Table], columns: Sequence[str] | None) -> dict[str, str]:
    """Return the settings by which PROOF knows what to look at.

    Args:
        tables: By name, as the batch's statements name them.
        columns: What must be as it was; None for all columns.
    """
    return {
        _TABLES: _array([table.quoted for table in tables]),
        _COLUMNS: "" if columns is None else _array(columns),
        _DELETED: "",
        _SKIPPED: "",
        _KEPT: "",
        _STAYED: "",
        _LEFT: "",
    }


def look_below(root: int, columns: Sequence[str] | None) -> str:
    """Let PROOF look at a table and at all partitions below it."""
    args = Literals()
    oid = f"{args.add(root, 'bigint')}::pg_catalog.oid"
    names = (
        "SELECT pg_catalog.array_agg(pg_catalog.format('%I.%I', n.nspname, c.relname)) "
        "FROM pg_catalog.pg_class AS c "
        f"JOIN pg_catalog.pg_namespace AS n ON n.oid {EQUAL} c.relnamespace "
        f"WHERE c.oid {EQUAL} {oid} OR c.oid {EQUAL} ANY (ARRAY("
        f"SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree({oid}) AS t))"
    )
    others = {name: value for name, value in subject((), columns).items() if name != _TABLES}
    settings = [set_local(name, value) for name, value in others.items()]
    settings.append(_set(_TABLES, f"coalesce(({names})::pg_catalog.text, '{{}}')"))
    return f"SELECT {', '.join(settings)}"


def _array(texts: Sequence[str]) -> str:
    """Return the text form of a text[] (PostgreSQL manual, 8.15.2)."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def lock_lane(key: int) -> str:
    """Take a lane's advisory lock for the transaction, or raise LANE_TAKEN.

    The text is chosen by a CASE over a volatile function, so that its cast, which fails, is not
    tried before. As part of the DELETE's WHERE, a lock that becomes free a moment later would let a
    batch that deleted nothing pass for a finished one.
    """
    is_free = f"pg_catalog.pg_try_advisory_xact_lock({Literals().add(key, 'bigint')})"
    taken = quote_literal(LANE_TAKEN)
    return f"SELECT (CASE WHEN {is_free} THEN '1' ELSE {taken} END)::pg_catalog.int4"


def counted(deletion: str) -> str:
    """Run a DELETE and note how many rows went; see `Proof.deleted`."""
    return (
        f"WITH gone AS ({deletion} RETURNING 1) {_note(_DELETED, 'pg_catalog.count(*)')} FROM gone"
    )


def counted_with_stayed(deletion: str, reference: str, part: Versions) -> str:
    """Run a DELETE of versions of rows; note how many went, and which did not, counted from 1."""
    known = Literals().add(list(part.versions), "text[]")
    stayed = (
        "(SELECT pg_catalog.string_agg(w.number::pg_catalog.text, ' ') "
        f"FROM pg_catalog.unnest({known}) WITH ORDINALITY AS w(version, number) "
        f"WHERE NOT EXISTS (SELECT FROM gone WHERE gone.version {EQUAL} w.version))"
    )
    deleted = _longer(_DELETED, "(SELECT pg_catalog.count(*) FROM gone)")
    more = f"pg_catalog.concat({_get(_STAYED)}, {stayed}, ';')"
    return (
        f"WITH gone AS ({deletion} RETURNING {version(reference)} AS version) SELECT "
        f"{_set(_DELETED, deleted)}, "
        f"{_set(_STAYED, more)}"
    )


def archived(deletion: str, reference: str, archive: ArchiveTable) -> str:
    """Run a DELETE and insert its rows into an archive; note rows gone and rows kept.

    Both are counted, since a trigger on the archive may drop what it is given.
    """
    moved = move(deletion, reference, archive, Literals())
    gone = _longer(_DELETED, "(SELECT pg_catalog.count(*) FROM gone)")
    kept = _longer(_KEPT, "(SELECT pg_catalog.count(*) FROM kept)")
    return f"{moved} SELECT {_set(_DELETED, gone)}, {_set(_KEPT, kept)}"


def delete_free(target: Target, part: Slice) -> str:
    """Delete a slice's rows that nobody has locked."""
    return delete_skip_locked(target, part, Literals())


def note_marked(target: Target, part: Slice) -> str:
    """Note which of a slice's rows somebody may have locked, for the statements below.

    Each lock of a row leaves a mark in xmax (access/htup_details.h), in force or not: who has none
    is free. To lock each row first would cost nearly as much as to delete it.
    """
    marked = f"(SELECT ctid FROM {target.table.source} WHERE {part.narrow(target, Literals())} "
    marked += f"AND NOT {unmarked(target)})"
    return f"SELECT {_set(_MARKED, _gathered('ctid'))} FROM {marked} AS marked"


def lock_marked(target: Target) -> str:
    """Lock what `note_marked` found and nobody has locked; note it."""
    free = free_rows(target, NotedTids(_noted(_MARKED)), Literals())
    return f"SELECT {_set(_ROWS, _gathered('ctid'))} FROM ({free}) AS free"


def delete_unmarked(target: Target, part: Slice) -> str:
    """Delete a slice's rows but for those that others have locked.

    A row that was locked after `note_marked` is waited for, for as long as lock_timeout lets it.
    """
    ours = NotedTids(_noted(_ROWS)).limits(target, Literals())
    return f"{delete_plain(target, part)} AND ({unmarked(target)} OR {ours})"


def note_marked_left(target: Target, limit: int) -> str:
    """Note how many rows of `note_marked` are there all the same, and where, as `note_left`."""
    return note_left(target, NotedTids(_noted(_MARKED)), limit)


def _noted(name: str) -> str:
    """Return the places noted in a setting; a subquery is read once, not for each row."""
    return f"(SELECT {_get(name)}::pg_catalog.tid[])::pg_catalog.tid[]"


def lock_then_delete(target: Target, part: Slice) -> tuple[str, str]:
    """Lock a slice's rows, then delete them by a statement whose snapshot is newer than the locks.

    So the other tables that the operator's text reads are seen as they are. ctid stands beside
    tableoid where rows of several heaps are meant.
    """
    args = Literals()
    reference = target.table.reference
    locked = f"(SELECT {_free_with_table(target, part, args)}) AS locked"
    noted = [_set(_ROWS, _gathered("ctid"))]
    pair = ""
    if not target.table.only:
        noted.append(_set(_PAIRS, _gathered("pair")))
        here = f"pg_catalog.concat({reference}.tableoid, {reference}.ctid)"
        pair = f" AND {here} {EQUAL} ANY({_get(_PAIRS)}::pg_catalog.text[])"
    deletion = (
        f"DELETE FROM {target.table.source} "
        f"WHERE {reference}.ctid {EQUAL} ANY({_get(_ROWS)}::pg_catalog.tid[]){pair} "
        f"AND ({target.condition(args)}) IS TRUE"
    )
    return f"SELECT {', '.join(noted)} FROM {locked}", deletion


def lock_then_delete_closed(target: Target, part: Slice) -> tuple[str, str]:
    """Lock a slice's rows, then delete them if each row that would be deleted along is one of them.

    A lock FOR UPDATE keeps new rows from referring to a row, and those that did so before are seen
    by the second statement, whose snapshot is newer. So no row goes but those that are expired.
    """
    reference, args = target.table.reference, Literals()
    lock = f"SELECT {_set(_ROWS, _gathered('ctid'))} FROM ({free_rows(target, part, args)}) AS free"
    ours, parent = _noted(_ROWS), '"sweeperd parent"'
    expired = f"({target.condition(args)}) IS TRUE"
    matches = " OR ".join(f"({key.match(parent, reference)})" for key in target.cascades)
    others = (
        f"SELECT FROM ONLY {target.table.quoted} AS {parent} JOIN {target.table.source} "
        f"ON {matches} WHERE {parent}.ctid {EQUAL} ANY({ours}) AND NOT "
        f"({reference}.ctid {EQUAL} ANY(SELECT pg_catalog.unnest({ours})) AND {expired})"
    )
    deletion = (
        f"DELETE FROM {target.table.source} WHERE {reference}.ctid {EQUAL} ANY({ours}) "
        f"AND {expired} AND (SELECT NOT EXISTS ({others}))"
    )
    return lock, deletion


def _free_with_table(target: Target, part: Slice, args: Args) -> str:
    """Return the select list and the rest of what locks rows, with the pair that names each."""
    reference = target.table.reference
    locking = free_rows(target, part, args).removeprefix("SELECT ")
    return f"pg_catalog.concat({reference}.tableoid, {reference}.ctid) AS pair, {locking}"


def delete_plain(target: Target, part: Slice) -> str:
    """Delete a slice's expired rows; the command tag tells how many."""
    return delete(target, part, Literals())


def note_left(target: Target, part: Slice | NotedTids, limit: int) -> str:
    """Note how many expired rows of a slice are there all the same, at most ``limit``.

    Of few ones it notes the places, too, so that they can be gone back for.
    """
    left = places_of(target, part, Literals(), limit=limit)
    few = (
        f"CASE WHEN pg_catalog.count(*) {AT_MOST} {FEW_LEFT} "
        "THEN pg_catalog.string_agg(ctid::pg_catalog.text, ' ') END"
    )
    number = _longer(_SKIPPED, "pg_catalog.count(*)")
    where = f"pg_catalog.concat({_get(_LEFT)}, {few}, ';')"
    return f"SELECT {_set(_SKIPPED, number)}, {_set(_LEFT, where)} FROM ({left}) AS bounded"


def note_left_over(target: Target, part: Slice, *, free: bool) -> str:
    """Note how many expired rows of a slice a DELETE left; of the free ones only, if asked."""
    args = Literals()
    if free:
        left = f"SELECT pg_catalog.count(*) FROM ({free_rows(target, part, args)}) AS free"
    else:
        left = f"SELECT pg_catalog.count(*) FROM {target.table.source} WHERE "
        left += part.narrow(target, args)
    return _note(_SKIPPED, f"({left})")


def _gathered(column: str) -> str:
    return f"coalesce(pg_catalog.array_agg({column})::pg_catalog.text, '{{}}')"


def _note(name: str, number: str) -> str:
    return f"SELECT {_set(name, _longer(name, number))}"


def _longer(name: str, number: str) -> str:
    """Append a number to a setting's."""
    return f"pg_catalog.concat({_get(name)}, ' ', {number})"


def _set(name: str, value: str) -> str:
    return f"pg_catalog.set_config({quote_literal(name)}, {value}, true)"


def _get(name: str) -> str:
    return f"pg_catalog.current_setting({quote_literal(name)})"


_STARTED: Final = """(pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time())
        OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8::pg_catalog.text"""
_STATS_RESET: Final = """(SELECT (pg_catalog.date_part('epoch', stats_reset)
                OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8::pg_catalog.text
        FROM pg_catalog.pg_stat_bgwriter)"""
EPOCH: Final = f"SELECT {_STARTED} AS started, {_STATS_RESET} AS stats_reset"

# One row for each table, or one without. Digests, so that nothing in it needs an escape.
#  - ancestry: each table up to the root, with its bound and whether a DETACH is pending
#  - columns: number, type and name of those that must be as they were
#  - reactions: triggers of foreign keys and rules, which decide what else a delete does
PROOF: Final = f"""
SELECT pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text AS xid,
       {_STARTED} AS started, {_STATS_RESET} AS stats_reset,
       {_get(_DELETED)} AS deleted, {_get(_SKIPPED)} AS skipped, {_get(_KEPT)} AS kept,
       {_get(_STAYED)} AS stayed, {_get(_LEFT)} AS left_over,
       known.*
FROM (SELECT 1) AS always
LEFT JOIN (
    SELECT w.place, c.oid::pg_catalog.int8 AS oid,
           pg_catalog.pg_relation_filenode(c.oid)::pg_catalog.int8 AS heap_file,
           (SELECT pg_catalog.hashtextextended(pg_catalog.string_agg(pg_catalog.concat_ws(' ',
                p.oid, pg_catalog.pg_get_expr(p.relpartbound, p.oid), i.inhdetachpending),
                ';' ORDER BY p.oid), 0)
            FROM pg_catalog.pg_partition_ancestors(c.oid) AS above
            JOIN pg_catalog.pg_class AS p ON p.oid OPERATOR(pg_catalog.=) above.relid
            LEFT JOIN pg_catalog.pg_inherits AS i
                ON p.relispartition AND i.inhrelid OPERATOR(pg_catalog.=) p.oid) AS ancestry,
           (SELECT pg_catalog.hashtextextended(pg_catalog.string_agg(pg_catalog.concat_ws(' ',
                a.attnum, a.atttypid, a.attname), ';' ORDER BY a.attnum), 0)
            FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid
              AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
              AND CASE WHEN {_get(_COLUMNS)} OPERATOR(pg_catalog.=) '' THEN true
                  ELSE a.attname::pg_catalog.text OPERATOR(pg_catalog.=)
                      ANY ({_get(_COLUMNS)}::pg_catalog.text[]) END) AS columns,
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute AS a
            WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid
              AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped) AS column_count,
           pg_catalog.hashtextextended(pg_catalog.concat_ws(';',
               (SELECT pg_catalog.string_agg(t.oid::pg_catalog.text, ' ' ORDER BY t.oid)
                FROM pg_catalog.pg_trigger AS t
                WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid
                  AND t.tgconstraint OPERATOR(pg_catalog.<>) 0
                  AND t.tgenabled OPERATOR(pg_catalog.=) ANY ('{{O,A}}'::pg_catalog."char"[])),
               (SELECT pg_catalog.string_agg(r.oid::pg_catalog.text, ' ' ORDER BY r.oid)
                FROM pg_catalog.pg_rewrite AS r
                WHERE r.ev_class OPERATOR(pg_catalog.=) c.oid
                  AND r.ev_type OPERATOR(pg_catalog.=) '4'::pg_catalog."char"
                  AND r.ev_enabled OPERATOR(pg_catalog.<>) 'D'::pg_catalog."char")), 0)
               AS reactions
    FROM pg_catalog.unnest({_get(_TABLES)}::pg_catalog.text[]) WITH ORDINALITY AS w(name, place)
    LEFT JOIN pg_catalog.pg_class AS c
        ON c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(w.name)
) AS known ON true
ORDER BY known.place
"""
