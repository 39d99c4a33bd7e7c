"""What a guarded compiler makes of an INSERT: an INSERT .. SELECT of its values, stamped and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from sqlalchemy import String
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.sql.schema import Column

from toque.store.guard import refuse
from toque.store.guarded_crud import visit_insert
from toque.store.guarded_rows import Requiring
from toque.store.rows import Guarded

if TYPE_CHECKING:
    Values = list[tuple[Any, str, str, Any]]

__all__ = ["Inserting"]

# Around the values of an INSERT, until they have been found in its text; no SQL that SQLAlchemy writes has them.
_BEGIN, _END = "\x02", "\x03"
_VALUES = " VALUES ("


class Inserting(Requiring):
    """The part of a guarded compiler that inserts."""

    _inserting: list[_Inserted]
    _insertmanyvalues: Any

    def given_values(self, rows: str, names: list[str]) -> tuple[str, list[str]]:
        """*rows* of VALUES as the table `given`, and what its columns *names* are called."""
        raise NotImplementedError

    def given_select(self, select: str, names: list[str]) -> tuple[str, list[str]]:
        """The rows of *select* as the table `given`, and what its columns *names* are called."""
        raise NotImplementedError

    def visit_insert(self, statement: Any, visited_bindparam: Any = None, visiting_cte: Any = None, **kw: Any) -> Any:
        rules = None if self.trusted else self.rules_for(statement)
        text = visit_insert(self, statement, visited_bindparam=visited_bindparam, visiting_cte=visiting_cte, **kw)
        return self._checked_insert(rules, text) if isinstance(rules, Guarded) else text

    def marked_values(self, rules: Guarded, statement: Any, state: Any, params: Any) -> Any:
        """The columns of an INSERT, those that are stamped among them, and its values between marks."""
        columns = list(params.single_params)
        if any(not isinstance(column, Column) for column, *_ in columns):
            refuse(f"a statement inserts a part of a column of {rules.table.name!r}.", "Insert whole columns.")
        own = [column.key for column, *_ in columns]
        table, name = rules.table, self.preparer.format_column
        # Their place only: what is stamped never comes from the values.
        missing: Values = [(table.c[key], name(table.c[key]), "NULL", ()) for key in rules.stamp if key not in own]
        inserted = _Inserted(tuple(own), tuple(column.key for column, *_ in (*columns, *missing)), _given(state, self))
        self._inserting.append(inserted)
        if statement.select is not None:
            entry: Any = self.stack[-1]
            entry["insert_from_select"] = _Marked(entry["insert_from_select"])
            return params._replace(single_params=[*columns, *missing])
        if not own:
            refuse(f"a row of {table.name!r} is inserted without any value.", "Give it one at least.")
        rows = [[*row, *missing] for row in params.all_multi_params or [columns]]
        rows[0][0] = _marked(rows[0][0], _BEGIN, "")
        rows[-1][-1] = _marked(rows[-1][-1], "", _END)
        if params.all_multi_params:
            return params._replace(single_params=[*columns, *missing], all_multi_params=rows)
        return params._replace(single_params=rows[0])

    def visit_marked(self, element: _Marked, insert_into: bool = False, **kw: Any) -> str:
        return f"{_BEGIN}{self.process(element.select, insert_into=True, **kw)}{_END}"

    def _checked_insert(self, rules: Guarded, text: str) -> str:
        """INSERT .. SELECT of the values that *text* inserts, stamped and checked."""
        inserted = self._inserting.pop()
        head, _, rest = text.partition(_BEGIN)
        body, _, tail = rest.partition(_END)
        if self._insertmanyvalues is not None:
            self._insertmanyvalues = _unmarked(self._insertmanyvalues)
        is_select = not head.endswith(_VALUES)
        if is_select:
            source, names = self.given_select(body, [rules.table.c[key].name for key in inserted.own])
        else:
            head, tail = head.removesuffix(_VALUES), tail.removeprefix(")")
            source, names = self.given_values(body, [rules.table.c[key].name for key in inserted.columns])
        given = dict(zip(inserted.own if is_select else inserted.columns, names, strict=True))
        required = self.required(self._rule_of_new(rules, inserted, given))
        values = [self._stored(rules, key, given) for key in inserted.columns]
        if is_select:
            # Not in WHERE, where it could be asked about rows that the SELECT leaves out.
            first = self.typed(values[0], rules.table.c[inserted.columns[0]])
            values[0] = f"CASE WHEN {required} THEN {first} END"
            required = self.true
        rows = f"{', '.join(values)} FROM {source} WHERE {required}"
        return f"{head} SELECT {rows}{tail}"

    def _stored(self, rules: Guarded, key: str, given: Mapping[str, str]) -> str:
        if key in rules.stamp:
            return self.rule(rules.stamp[key], rules.table)
        return self.converted(given[key], rules.table.c[key])

    def _rule_of_new(self, rules: Guarded, inserted: _Inserted, given: Mapping[str, str]) -> str:
        """The insert rule about the new row, and that of each hidden column which the statement gives a value."""
        table = rules.table
        row = {column.key: self.typed(self._unsaid(column), column) for column in table.c}
        row |= {key: self.typed(name, table.c[key]) for key, name in given.items()}
        row |= {key: self.rule(fact, table) for key, fact in rules.stamp.items()}
        checks = [self.after(rules, rules.insert, row)]
        for key in rules.hidden.keys() & inserted.given:
            # Nothing is no secret: SQLAlchemy's session says NULL for every column that was not set.
            checks.append(f"({row[key]} IS NULL OR {self.after(rules, rules.hidden[key], row)})")
        return " AND ".join(checks)

    def _unsaid(self, column: Any) -> str:
        """What the database itself puts into *column*; NULL where only it knows."""
        default = getattr(column.server_default, "arg", None)
        if default is None:
            return "NULL"
        if isinstance(default, str):
            return str(self.render_literal_value(default, String()))
        with self.trust(self.trusted + 1):
            return str(self.process(default))


class _Inserted(Struct, frozen=True):
    """The columns of one INSERT, by key."""

    own: tuple[str, ...]
    """Those that the statement has values for, in order."""
    columns: tuple[str, ...]
    """Those, and then the stamped ones that it has not."""
    given: frozenset[str]
    """Those that the author gave a value; the others have their default."""


class _Marked(ClauseElement):
    """The SELECT of an INSERT, between marks."""

    __visit_name__ = "marked"
    inherit_cache = False

    def __init__(self, select: Any) -> None:
        self.select = select


def _marked(value: Any, before: str, after: str) -> Any:
    column, name, text, binds = value
    return column, name, f"{before}{text}{after}", binds


def _unmarked(many: Any) -> Any:
    """SQLAlchemy's own note of the values, which it writes once for each row."""

    def clean(text: str) -> str:
        return text.replace(_BEGIN, "").replace(_END, "")

    params = many.insert_crud_params
    return many._replace(
        single_values_expr=clean(many.single_values_expr),
        insert_crud_params=params and [(column, name, clean(text), binds) for column, name, text, binds in params],
    )


def _given(state: Any, compiler: Any) -> frozenset[str]:
    rows = state._multi_parameters or [state._dict_parameters or {}]
    keys = {getattr(key, "key", key) for row in rows for key in row}
    names = {getattr(name, "key", name) for name in state.statement._select_names or ()}
    return frozenset(keys | names | set(compiler.column_keys or ()))
