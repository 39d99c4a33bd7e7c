"""SQLite's own wall around sensitive tables: the rules once more, on every connection of the store.

SQLite knows no roles, so the wall is made of what one connection may have for itself. A TEMP view bears the name of
each sensitive table and shows what the rule lets the caller read: names are looked up in `temp` first. TEMP triggers
on the table let nobody's writes through but the caller's. An authorizer refuses whatever reads the table past its
view. Facts about the caller are functions of the connection, which answer for whoever has it at the time.

A view reads through a second one whose name is random, and only that one may read the table. SQLite tells the
authorizer the innermost view *or common table expression* on whose behalf a table is read, so a CTE that bears a known
view's name would be taken for the view. A write has to name the table itself, so `main.` is put before it here, and
refused in what others write: without it there is no way around the views, in no subquery of a write either.

As on PostgreSQL, columns hidden from a caller are the compiler's affair.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from toque.contract.principal import ANONYMOUS
from toque.store.dialects import sqlite
from toque.store.facts import Fact
from toque.store.rows import Rule
from toque.store.rule_sql import RuleWriter
from toque.store.sqlite_errors import NOT_YOURS

if TYPE_CHECKING:
    from toque.contract.principal import Principal
    from toque.store.prepared import Prepared
    from toque.store.rows import Guarded

__all__ = ["Wall", "Walled"]

# Wherever an identifier may be quoted, SQLite takes all four kinds of quotes, and comments for space.
_SPACE = r"(?:\s|/\*.*?\*/|--[^\n]*\n)"
_MAIN = re.compile(rf"\bmain[\"'\]`]?{_SPACE}*\.", re.IGNORECASE | re.DOTALL)
_WRITE = r"\b((?:INSERT|REPLACE)\b[^()]*?\bINTO|UPDATE(?:\s+OR\s+\w+)?|DELETE\s+FROM)\s+"
_RETURNING = "sqlite_returning"
"""The name under which SQLite's own program for RETURNING reads."""

_REFUSED = frozenset(
    getattr(sqlite3, f"SQLITE_{name}")
    for name in (
        *("CREATE_INDEX", "CREATE_TABLE", "CREATE_TRIGGER", "CREATE_VIEW", "CREATE_VTABLE"),
        *("CREATE_TEMP_INDEX", "CREATE_TEMP_TABLE", "CREATE_TEMP_TRIGGER", "CREATE_TEMP_VIEW"),
        *("DROP_INDEX", "DROP_TABLE", "DROP_TRIGGER", "DROP_VIEW", "DROP_VTABLE"),
        *("DROP_TEMP_INDEX", "DROP_TEMP_TABLE", "DROP_TEMP_TRIGGER", "DROP_TEMP_VIEW"),
        *("ALTER_TABLE", "ANALYZE", "ATTACH", "DETACH", "PRAGMA", "REINDEX"),
    )
)
# Tables that show pages or the schema as they are: https://www.sqlite.org/vtablist.html.
_INNER = re.compile(r"sqlite_|pragma_|dbstat$|fsdir$", re.IGNORECASE)


class Wall:
    """What is put around the sensitive tables of one app, on each connection.

    Raises: TypeError where a rule cannot be written as SQL.
    """

    def __init__(self, guards: Sequence[Guarded]) -> None:
        self._facts: dict[str, Fact] = {}
        writer = RuleWriter(sqlite(), self._function, "main")
        self._tables = [_Table(guard, writer) for guard in guards]
        self.names = frozenset(guard.table.name.lower() for guard in guards)
        names = "|".join(re.escape(name) for name in sorted(self.names, key=len, reverse=True))
        self._target = re.compile(rf"{_WRITE}(?=([\"'\[`]?)(?:{names})[\"'\]`]?(?![\w$]))", re.IGNORECASE | re.DOTALL)
        self._any_write = re.compile(_WRITE, re.IGNORECASE | re.DOTALL)

    def around(self, connection: sqlite3.Connection) -> Walled:
        """Put it up on *connection*, for good."""
        walled = Walled(self)
        for name, fact in self._facts.items():
            connection.create_function(name, 0, walled.answering(fact), deterministic=True)
        connection.create_function("toque_system", 0, lambda: walled.is_system, deterministic=True)
        connection.create_function("toque_guarded", 0, lambda: walled.is_guarded, deterministic=True)
        # Otherwise REPLACE would delete a row that is in its way without a trigger (lang_conflict.html).
        connection.execute("PRAGMA recursive_triggers = ON")
        for table in self._tables:
            suffix = token_hex(16)
            walled.trusted.add(f"toque_{suffix}")
            for statement in table.statements(suffix):
                connection.execute(statement)
        connection.set_authorizer(walled.authorize)
        return walled

    def text(self, prepared: Prepared) -> str:
        """The text to run for *prepared*: where it writes to a sensitive table, past the view to the table itself.

        Raises: PermissionError where the text itself tries to.
        """
        if prepared.walled is None:
            if _MAIN.search(prepared.sql):
                raise PermissionError(
                    "a statement cannot name a table as `main.table` in an app with sensitive tables."
                )
            prepared.walled = self._target.sub(r"\g<1> main.", prepared.sql, count=1)
            prepared.is_write = prepared.is_write or self._any_write.search(prepared.sql) is not None
        return prepared.walled

    def _function(self, fact: Fact) -> str:
        """The call of the function that answers *fact*, on each connection."""
        known = next((name for name, one in self._facts.items() if _same(one, fact)), None)
        name = known or f"toque_fact_{len(self._facts)}"
        self._facts[name] = fact
        return f"{name}()"


class Walled:
    """The wall on one connection, and who has the connection."""

    def __init__(self, wall: Wall) -> None:
        self.trusted: set[str] = set()
        """The names on whose behalf a sensitive table may be read."""
        self.is_system = False
        self.is_guarded = False
        """Whether the statement has the rules in it, and has looked for its rows before it changed any."""
        self.is_own_work = False
        """Whether the store itself looks at plans and the schema."""
        self._names = wall.names
        self._is_write = False
        self._principal: Principal = ANONYMOUS

    def admit(self, prepared: Prepared, principal: Principal) -> None:
        """Have the connection answer for *principal* until the next statement."""
        self._principal = principal
        self.is_system = prepared.is_system
        self.is_guarded = prepared.is_guarded
        self._is_write = prepared.is_write

    def answering(self, fact: Fact) -> Callable[[], Any]:
        """What answers *fact* to SQLite. It is asked for each statement, so it is one call."""
        of, process = fact.of, _processor(fact)
        return lambda: of(self._principal) if process is None else process(of(self._principal))

    def authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, source: str | None
    ) -> int:
        """Whether a statement that is being prepared may do that. Source: https://www.sqlite.org/c3ref/set_authorizer.html."""
        if self.is_own_work:
            return sqlite3.SQLITE_OK
        is_refused = action in _REFUSED
        if action == sqlite3.SQLITE_READ:
            is_refused = not self._may_read((first or "").lower(), database, source)
        elif action == sqlite3.SQLITE_FUNCTION:
            is_refused = (second or "").lower() == "load_extension"
        return sqlite3.SQLITE_DENY if is_refused else sqlite3.SQLITE_OK

    def _may_read(self, table: str, database: str | None, source: str | None) -> bool:
        if _INNER.match(table):
            return False
        if table not in self._names or database != "main":
            return True
        # The target of a write, and keys that other tables refer to, are read on nobody's behalf.
        is_target = self._is_write and source in (None, _RETURNING)
        return is_target or (source or "").partition(".")[0] in self.trusted


class _Table:
    """The rules of one table, written."""

    def __init__(self, guard: Guarded, writer: RuleWriter) -> None:
        quote = writer.dialect.identifier_preparer.quote
        self._name = quote(guard.table.name)
        self._columns = [quote(column.name) for column in guard.table.columns]

        def write(rule: Rule) -> str:
            return writer.write(rule, guard.table).text

        self._read = write(guard.read)
        self._insert = write(guard.insert)
        self._change = write(guard.change)
        self._delete = write(guard.delete)

    def statements(self, suffix: str) -> Iterator[str]:
        name, inner = self._name, f"toque_{suffix}"
        whose = f"toque_system() OR ({self._read})"
        yield f"CREATE TEMP VIEW {inner} AS SELECT * FROM main.{name} WHERE {whose}"  # noqa: S608 - the model's own
        yield f"CREATE TEMP VIEW {name} AS SELECT * FROM {inner}"  # noqa: S608
        # A row that the caller may not touch is passed over as if it were not there. To a statement with the rules in
        # it that happens only where it has changed what the rule asks of another row already; then half of it must not
        # be done. A row that a write would leave behind can only be refused. It is looked at afterwards, when its key
        # and its defaults are there.
        yield self._trigger(f"{inner}.change", "BEFORE UPDATE", "OLD", f"({self._read}) AND ({self._change})")
        yield self._trigger(f"{inner}.delete", "BEFORE DELETE", "OLD", f"({self._read}) AND ({self._delete})")
        yield self._trigger(f"{inner}.changed", "AFTER UPDATE", "NEW", self._change)
        yield self._trigger(f"{inner}.inserted", "AFTER INSERT", "NEW", self._insert)

    def _trigger(self, trigger: str, moment: str, row: str, rule: str) -> str:
        """What stops a write whose *row* does not satisfy *rule*."""
        columns = ", ".join(f"{row}.{column} AS {column}" for column in self._columns)
        stop = f"RAISE(ABORT, '{NOT_YOURS}')"
        if row == "OLD":
            stop = f"CASE WHEN toque_guarded() THEN {stop} ELSE RAISE(IGNORE) END"
        holds = f"SELECT {rule} FROM (SELECT {columns}) AS {self._name}"  # noqa: S608 - the model's own words
        return (
            f'CREATE TEMP TRIGGER "{trigger}" {moment} ON main.{self._name} WHEN NOT toque_system() '
            f"BEGIN SELECT {stop} WHERE NOT coalesce(({holds}), 0); END"
        )


def _processor(fact: Fact) -> Callable[[Any], Any] | None:
    process: Callable[[Any], Any] | None = fact.type.dialect_impl(sqlite()).bind_processor(sqlite())
    return process


def _same(one: Fact, other: Fact) -> bool:
    return (one.about, one.names, repr(one.type)) == (other.about, other.names, repr(other.type))
