"""What a guarded compiler puts in the place of a table: its permitted rows and columns.

Every table that a statement reads reaches FROM by way of `visit_table`, whatever built the statement. There it becomes
`(SELECT its columns FROM it WHERE the read rule) AS it`; a hidden column is NULL unless its rule holds. Both databases
flatten that into the query around it, so indexes work as before. Only the target of a write stands bare: what refers to
it is masked column by column.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select
from sqlalchemy.sql.dml import Insert, UpdateBase
from sqlalchemy.sql.elements import ColumnElement

from toque.store.guard import Guard, refuse
from toque.store.rows import Guarded, Rule

# A mixin for SQLAlchemy's compilers, whose methods have types that no subclass could keep to.
Compiler: Any = object

__all__ = ["MAY", "Compiler", "May", "Reading", "Written"]

MAY = "toque may"
"""The column of permitted rows that says whether they may be written, for `denials`; no model has such a name."""


class Written(ColumnElement[Any]):
    """A value that is SQL already, in the place of the column that it is written to."""

    __visit_name__ = "written"
    inherit_cache = False

    def __init__(self, text: str, type_: Any) -> None:
        self.text = text
        self.type = type_


class May(ColumnElement[Any]):
    """Whether the row of *table* may be written, as its rule *action* says; `MAY` of the permitted rows."""

    __visit_name__ = "may"
    inherit_cache = False

    def __init__(self, table: Any, rule: Rule) -> None:
        self.table = table
        self.rule = rule

    @property
    def _from_objects(self) -> list[Any]:
        return [self.table]


class Reading(Compiler):  # type: ignore[misc]
    """The part of a guarded compiler that reads."""

    guard: Guard
    trusted = 0
    """How many rules, each within another, are being written: a rule is its author's word."""
    asked: May | None = None
    """What `visit_may` wants to know of the rows that are read."""
    sample = ""
    """What TABLESAMPLE says of the table that is written next."""

    @contextmanager
    def trust(self, level: int) -> Iterator[None]:
        before, self.trusted = self.trusted, level
        try:
            yield
        finally:
            self.trusted = before

    def rule(self, rule: Rule, table: Any, **kw: Any) -> str:
        """*rule* about a row of *table*, which stands bare around it.

        The entry on the stack keeps the statement's own tables out of reach: a subquery of the rule that names one of
        them must not take the statement's for its own.
        """
        entry: Any = {"correlate_froms": {table}, "asfrom_froms": {table}, "selectable": select(table)}
        self.stack.append(entry)
        try:
            with self.trust(self.trusted + 1):
                return f"({self.process(rule, **kw)})"
        finally:
            self.stack.pop()

    def visit_written(self, element: Written, **kw: Any) -> str:
        return element.text

    def visit_may(self, element: May, **kw: Any) -> str:
        return f"{self.preparer.quote(self._name(element.table, {}))}.{self.preparer.quote(MAY)}"

    # Tables.

    def visit_table(self, table: Any, asfrom: bool = False, iscrud: bool = False, **kw: Any) -> Any:
        if self.trusted or not (asfrom or kw.get("within_tstring")) or kw.get("ashint"):
            return super().visit_table(table, asfrom=asfrom, iscrud=iscrud, **kw)
        _, rules = self.guard.find(table)
        if not isinstance(rules, Guarded) or (iscrud and self._is_target(table)):
            return super().visit_table(table, asfrom=asfrom, iscrud=iscrud, **kw)
        if kw.get("from_linter"):
            kw["from_linter"].froms[table] = table.fullname
        rows = f"({self.permitted(rules)})"
        alias = kw.get("enclosing_alias")
        # The name of an alias around it comes from there; a table in a select in an alias has its own.
        if alias is not None and hash(alias.element) == hash(table):
            return rows
        return rows + self.get_render_as_alias_suffix(self.preparer.quote(self._name(table, kw)))

    def permitted(self, rules: Guarded) -> str:
        """The permitted rows and columns of a table, as a SELECT."""
        table, quote = rules.table, self.preparer.quote
        bare = self.preparer.format_table(table)
        columns = []
        for column in table.c:
            text = f"{bare}.{quote(column.name)}"
            hidden = rules.hidden.get(column.key)
            if hidden is not None:
                text = f"CASE WHEN {self.rule(hidden, table)} THEN {text} END"
            columns.append(f"{text} AS {quote(column.name)}")
        if self.asked is not None and self.asked.table is table:
            columns.append(f"{self.rule(self.asked.rule, table)} AS {quote(MAY)}")
        sample, self.sample = self.sample, ""
        source = f"FROM {bare}{sample} WHERE {self.rule(rules.read, table)}"
        return f"SELECT {', '.join(columns)} {source}"

    def visit_tablesample(self, tablesample: Any, asfrom: bool = False, **kw: Any) -> Any:
        table = tablesample.element
        if self.trusted or not isinstance(self._rules_of(table), Guarded):
            return super().visit_tablesample(tablesample, asfrom=asfrom, **kw)
        # A subquery cannot be sampled, so the table within it is.
        self.sample = f" TABLESAMPLE {self.process(tablesample._get_method(), **kw)}"
        if tablesample.seed is not None:
            self.sample += f" REPEATABLE ({self.process(tablesample.seed, **kw)})"
        return self.visit_alias(tablesample, asfrom=True, **kw)

    def visit_cte(self, cte: Any, **kw: Any) -> Any:
        if not self.trusted and self.guard.is_taken(str.__str__(cte.name)):
            refuse(
                f"a CTE is called {cte.name!r}, like a table of the app, and would stand in its place within rules.",
                "Give it another name.",
            )
        return super().visit_cte(cte, **kw)

    # Columns.

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> Any:
        if self.trusted:
            return super().visit_column(column, *args, **kw)
        target = self._target_of(column, kw.get("include_table", True))
        if target is not None:
            return self._masked(column, target, *args, **kw)
        if getattr(column.table, "schema", None) and kw.get("include_table", True) and not self._is_bare(column.table):
            # Permitted rows have a name of their own, which is not in any schema.
            name = super().visit_column(column, *args, **{**kw, "include_table": False})
            return f"{self.preparer.quote(self._name(column.table, kw))}.{name}"
        return super().visit_column(column, *args, **kw)

    def _masked(self, column: Any, rules: Guarded, *args: Any, **kw: Any) -> str:
        text = super().visit_column(column, *args, **kw)
        masked = f"CASE WHEN {self.rule(rules.hidden[column.key], rules.table)} THEN {text} END"
        is_alone = kw.get("within_columns_clause") and not kw.get("within_label_clause")
        return f"{masked} AS {self.preparer.quote(column.name)}" if is_alone else masked

    def _target_of(self, column: Any, is_qualified: bool) -> Guarded | None:
        """The target of a write around here, if *column* is a hidden one of its; None for every other column.

        Raises: Refused for a name that the database may take for such a column, or for the row as a whole.
        """
        table: Any = column.table
        name = str.__str__(column.name or "").casefold()
        for entry in reversed(self.stack):
            writing: Any = entry["selectable"]
            if not isinstance(writing, UpdateBase):
                if table is not None and table in entry["asfrom_froms"]:
                    return None
                continue
            rules = self._rules_of(writing.table)
            if not isinstance(rules, Guarded) or not rules.hidden:
                continue
            if table is not None and table._deannotate() is rules.table:
                return rules if column.key in rules.hidden else None
            named: Any = table if is_qualified and getattr(table, "named_with_column", False) else None
            called = "" if named is None else str.__str__(named.name)
            is_other = called != "" and called.casefold() != rules.table.name.casefold()
            is_given = isinstance(writing, Insert) and called == "excluded"
            if (is_other and table in entry["asfrom_froms"]) or is_given:
                continue
            hidden = {rules.table.c[key].name.casefold() for key in rules.hidden}
            if name in hidden or name == rules.table.name.casefold():
                refuse(
                    f"{column} may stand for a hidden column of {rules.table.name!r} in a statement that writes it.",
                    f"Take it from the model: {rules.table.name}.c.{column.name}.",
                )
        return None

    # What stands bare, and what permitted rows are called.

    def _is_target(self, table: Any) -> bool:
        writing: Any = self.stack[-1]["selectable"] if self.stack else None
        return isinstance(writing, UpdateBase) and writing.table is table

    def _is_bare(self, table: Any) -> bool:
        """Whether *table* is written here under its own name: the target of a write, or everybody's."""
        for entry in reversed(self.stack):
            writing: Any = entry["selectable"]
            if isinstance(writing, UpdateBase) and writing.table._deannotate() is table._deannotate():
                return True
            if table in entry["asfrom_froms"]:
                break
        return not isinstance(self._rules_of(table), Guarded)

    def _rules_of(self, table: Any) -> Any:
        """The rules of *table*; None where it is no table that has a name: a subquery, an alias."""
        return self.guard.find(table)[1] if getattr(table, "__visit_name__", "") == "table" else None

    def _name(self, table: Any, kw: Any) -> str:
        names = kw.get("ambiguous_table_name_map") or {}
        if table.schema:
            return f"{table.schema}_{table.name}"
        if table.name in names:
            return str(self._truncated_identifier("alias", names[table.name]))
        return str.__str__(table.name)
