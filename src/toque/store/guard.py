"""The guard of one app's tables: for every name that a statement may use, the rules of the table behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

from msgspec import Struct
from sqlalchemy import MetaData, Table

from toque.contract.complaints import Complaint
from toque.store.rows import Guarded, Shared, declared, place_of
from toque.store.sql import Sql

if TYPE_CHECKING:
    from toque.store.named import Named

__all__ = ["Guard", "Refused", "guard_of", "refuse", "written_table"]


class Refused(TypeError):
    """A statement holds what nobody declared to be safe: its author's mistake, never its caller's."""


def refuse(what: str, remedy: str, near: str = "", known: Any = ()) -> NoReturn:
    """Raises: Refused, with the nearest of the *known* names to *near*."""
    close = get_close_matches(near, sorted(known), 1) if near else []
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise Refused(f"{what} {remedy}{hint}")


_EMITTED = {"insert": "_emit_insert_table", "update": "_emit_update_table"}
"""What SQLAlchemy notes on a session's bulk statement, which goes to each of a model's tables in turn while it names
the last of them."""


def written_table(statement: Any) -> Any:
    """The table that *statement* writes to."""
    said = statement._annotations.get(_EMITTED.get(statement.__visit_name__))
    return (statement.table if said is None else said)._deannotate()


_OWN = "toque_"
"""How Toque's own tables are called. No statement of an app reads them: kept answers are their callers'."""

Key = tuple[str | None, str]


class Guard(Struct, frozen=True, eq=False):
    """What the guarded compilers ask: whose rows each table holds, and which SQL is allowed."""

    tables: Mapping[Key, tuple[Table, Guarded | Shared]]
    sql: Sql
    types: frozenset[type]
    """The classes of the columns' types: what a model declares may be cast to."""
    collations: frozenset[str] = frozenset()
    """Those of the columns."""

    def find(self, table: Any) -> tuple[Table, Guarded | Shared]:
        """The real table that *table*, mapped or made up, names, and its rules. Raises: Refused."""
        name = str.__str__(table.name)
        found = self.tables.get((table.schema, name.casefold()))
        if found is None:
            refuse(
                f"no model or table of the app is called {table.fullname!r}.",
                "Statements read and write declared tables only.",
                name,
                [known for _, known in self.tables],
            )
        return found

    def is_taken(self, name: str) -> bool:
        """Whether a table has *name*, so that a CTE of this name would stand in its place inside of rules."""
        return any(known == name.casefold() for _, known in self.tables)

    def words(self, named: Named) -> str:
        """Whose rows an operation meets, of the tables that it names or, where that is not known, of all."""
        met = [(table.name, rules) for table, rules in self.tables.values()]
        if not named.unknown:
            met = [(name, rules) for name, rules in met if name in named.tables]
        ruled = sorted(name for name, rules in met if isinstance(rules, Guarded))
        if not met:
            return "of no table"
        return f"the caller's, as {', '.join(ruled)} {'say' if ruled[1:] else 'says'}" if ruled else "everybody's"

    @property
    def has_rules(self) -> bool:
        return any(isinstance(rules, Guarded) for _, rules in self.tables.values())


def guard_of(metadata: MetaData, sql: Sql, wrong: list[Complaint]) -> Guard | None:
    """The guard of all tables of *metadata*; None where it has none. What is wrong with them joins *wrong*."""
    tables: dict[Key, tuple[Table, Guarded | Shared]] = {}
    for table in metadata.tables.values():
        if table.name.startswith(_OWN):
            continue
        try:
            rules = declared(table)
        except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
            wrong.append(Complaint(f"model {table.name}", f"its rules cannot be read: {error}", "", place_of(table)))
            continue
        if rules is None:
            wrong.append(_undeclared(table))
            continue
        tables[table.schema, table.name.casefold()] = (table, rules)
    wrong += _misruled([rules for _, rules in tables.values() if isinstance(rules, Guarded)])
    if not metadata.tables:
        return None
    types = [column.type for table in metadata.tables.values() for column in table.c]
    collations = {str(found) for tp in types if (found := getattr(tp, "collation", None)) is not None}
    return Guard(tables, sql, frozenset(map(type, types)), frozenset(collations))


def _misruled(every: Sequence[Guarded]) -> Iterator[Complaint]:
    """What is wrong with rules where some tables are sensitive."""
    sensitive = {rules.table.name for rules in every if rules.is_sensitive}
    if not sensitive:
        return
    from toque.store.rule_check import complaints

    for rules in every:
        yield from complaints(rules, sensitive)


def _undeclared(table: Table) -> Complaint:
    return Complaint(
        f"model {table.name}",
        "it does not say whose rows its table holds",
        "give it shared=True, tenant=..., owner=... or __rows__, or call declare (docs/guides/policies.md)",
        place_of(table),
    )
