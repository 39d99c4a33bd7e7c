"""What a guarded compiler makes of a write.

A row that is changed or deleted must satisfy the rule before: it joins WHERE. What a row would become must satisfy it
too, and so must a new row: where it does not, the statement itself fails in the database, so nothing that runs it can
overlook the answer. Values are put into the rule in the place of their columns, as the SQL that they are written with.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, Table, and_
from sqlalchemy.sql import compiler as stock
from sqlalchemy.sql import crud, visitors
from sqlalchemy.sql.elements import ClauseElement, ColumnElement
from sqlalchemy.sql.schema import Column
from sqlalchemy.sql.selectable import SelectBase

from toque.store.guard import refuse
from toque.store.guarded_reading import Reading, Written
from toque.store.rows import Guarded, Rule

if TYPE_CHECKING:
    Values = list[tuple[Any, str, str, Any]]

__all__ = ["Writing", "columns_of"]

# Around the values of an INSERT, until they have been found in its text; no SQL that SQLAlchemy writes has them.
_BEGIN, _END = "\x02", "\x03"


class _Crud:
    """What SQLAlchemy's `visit_insert` and `visit_update` call for their columns and values, with the rules added."""

    @staticmethod
    def _get_crud_params(compiler: Any, statement: Any, state: Any, toplevel: bool, **kw: Any) -> Any:
        params = crud._get_crud_params(compiler, statement, state, toplevel, **kw)
        rules = None if compiler.trusted else compiler.rules_for(statement)
        if not isinstance(rules, Guarded):
            return params
        if state.isupdate:
            return params._replace(single_params=compiler.checked_changes(rules, params.single_params))
        return compiler.marked_values(rules, statement, state, params)


def _with_rules(method: Any) -> Any:
    """SQLAlchemy's own *method*, with `_Crud` in the place of the module that it calls by this name."""
    changed = FunctionType(method.__code__, {**method.__globals__, "crud": _Crud}, method.__name__)
    changed.__defaults__, changed.__kwdefaults__ = method.__defaults__, method.__kwdefaults__
    return changed


_insert = _with_rules(stock.SQLCompiler.visit_insert)
_update = _with_rules(stock.SQLCompiler.visit_update)


class _Permitted(ColumnElement[bool]):
    """The rule that a row satisfies before it is changed or deleted. It brings no table along but what is *beside*."""

    __visit_name__ = "permitted"
    inherit_cache = False

    def __init__(self, table: Table, rule: Rule, beside: Any = None) -> None:
        self.table = table
        self.rule = rule
        self.beside = beside

    @property
    def _from_objects(self) -> list[Any]:
        return [] if self.beside is None else [self.beside]


class _Required(ColumnElement[Any]):
    """*value* for *column* where *condition* holds; else the statement fails."""

    __visit_name__ = "required"
    inherit_cache = False

    def __init__(self, table: Table, condition: Rule, value: Any, column: Any) -> None:
        self.table = table
        self.condition = condition
        self.value = value
        self.column = column


class _Upserted(ColumnElement[bool]):
    """What an upsert *asked* of the row in conflict, where that satisfies *rule*; else the statement fails."""

    __visit_name__ = "upserted"
    inherit_cache = False

    def __init__(self, table: Table, rule: Rule, asked: Any) -> None:
        self.table = table
        self.rule = rule
        self.asked = asked


class Writing(Reading):
    """The part of a guarded compiler that writes."""

    _inserting: list[_Inserted]
    _insertmanyvalues: Any
    refusal: str
    """An expression that fails when, and only when, it is evaluated."""
    true: str
    at_once: Any = None
    """What an UPDATE that asks other rows has in FROM, so that it asks them before it changes any."""

    def typed(self, text: str, column: Any) -> str:
        """The value *text* as a value of *column*'s type."""
        raise NotImplementedError

    def converted(self, text: str, column: Any) -> str:
        """The value *text* as it is stored in *column*."""
        raise NotImplementedError

    def given_values(self, rows: str, names: list[str]) -> tuple[str, list[str]]:
        """*rows* of VALUES as the table `given`, and what its columns *names* are called."""
        raise NotImplementedError

    def given_select(self, select: str, names: list[str]) -> tuple[str, list[str]]:
        """The rows of *select* as the table `given`, and what its columns *names* are called."""
        raise NotImplementedError

    def required(self, condition: str) -> str:
        return f"CASE WHEN {condition} THEN {self.true} ELSE {self.refusal} END"

    def visit_permitted(self, element: _Permitted, **kw: Any) -> str:
        return self.rule(element.rule, element.table)

    def rules_for(self, statement: Any) -> Any:
        """The rules of the table that *statement* writes. Raises: Refused unless that is a table of the app."""
        table = statement.table._deannotate()
        if not isinstance(table, Table):
            refuse(f"a statement writes {table!r}.", "Write to the model or its table, not to a stand-in.")
        real, rules = self.guard.find(table)
        if real is not table:
            refuse(f"a statement writes a stand-in of the table {real.name!r}.", "Write to the table itself.")
        return rules

    # UPDATE and DELETE.

    def visit_update(self, statement: Any, visiting_cte: Any = None, **kw: Any) -> Any:
        rules = None if self.trusted else self.rules_for(statement)
        if isinstance(rules, Guarded):
            _refuse_in_cte(rules, visiting_cte)
            beside = self.at_once if _asks(rules, statement) else None
            statement = statement.where(_Permitted(rules.table, rules.both(rules.change), beside))
        return _update(self, statement, visiting_cte=visiting_cte, **kw)

    def visit_delete(self, statement: Any, visiting_cte: Any = None, **kw: Any) -> Any:
        rules = None if self.trusted else self.rules_for(statement)
        if isinstance(rules, Guarded):
            _refuse_in_cte(rules, visiting_cte)
            statement = statement.where(_Permitted(rules.table, rules.both(rules.delete)))
        return super().visit_delete(statement, visiting_cte=visiting_cte, **kw)

    def checked_changes(self, rules: Guarded, changes: Values) -> Values:
        """SET, whose first value is there only if the row may become what all of them make of it."""
        written = {}
        for target, _, value, _ in changes:
            column = target if isinstance(target, Column) else self._part_of(rules, target)
            _refuse_stamped(rules, column)
            if column is target:
                written[column.key] = self.typed(f"({value})", column)
        hidden = [rules.hidden[key] for key in written if key in rules.hidden]
        if not hidden and columns_of(rules.change, rules.table).isdisjoint(written):
            return changes
        checks = [self.rule(rule, rules.table) for rule in hidden]
        checks += [self._after(rules, rule, written) for rule in (rules.change, *hidden)]
        place = next(n for n, change in enumerate(changes) if isinstance(change[0], Column))
        column, name, _, binds = changes[place]
        value = f"CASE WHEN {self.required(' AND '.join(checks))} THEN {written[column.key]} END"
        return [*changes[:place], (column, name, value, binds), *changes[place + 1 :]]

    def _after(self, rules: Guarded, rule: Rule, written: Mapping[str, str]) -> str:
        """*rule* about the row that *written* makes."""
        return self.rule(_replaced(rule, rules.table, written), rules.table)

    def _part_of(self, rules: Guarded, target: Any) -> Any:
        """The column of which SET writes a part, which no rule may be about."""
        columns = [found for found in visitors.iterate(target) if isinstance(found, Column)]
        named = columns_of(rules.change, rules.table) | set(rules.hidden)
        if len(columns) != 1 or columns[0].table is not rules.table or columns[0].key in named:
            refuse(f"a statement sets {target}.", "Set whole columns of the table where a rule is about them.")
        return columns[0]

    # INSERT.

    def visit_insert(self, statement: Any, visited_bindparam: Any = None, visiting_cte: Any = None, **kw: Any) -> Any:
        rules = None if self.trusted else self.rules_for(statement)
        text = _insert(self, statement, visited_bindparam=visited_bindparam, visiting_cte=visiting_cte, **kw)
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
        checks = [self._after(rules, rules.insert, row)]
        for key in rules.hidden.keys() & inserted.given:
            # Nothing is no secret: SQLAlchemy's session says NULL for every column that was not set.
            checks.append(f"({row[key]} IS NULL OR {self._after(rules, rules.hidden[key], row)})")
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

    # Upserts.

    def visit_on_conflict_do_update(self, clause: Any, **kw: Any) -> Any:
        statement = self.stack[-1]["selectable"]
        rules = None if self.trusted else self.rules_for(statement)
        if rules is not None and not self.trusted:
            self._refuse_unknown(statement.table, clause.update_values_to_set)
        if not isinstance(rules, Guarded):
            return super().visit_on_conflict_do_update(clause, **kw)
        table = rules.table
        named = ((_column(table, key), value) for key, value in clause.update_values_to_set.items())
        values = {column: _typed_bind(value, column) for column, value in named}
        for column in values:
            _refuse_stamped(rules, column)
        checked = copy.copy(clause)
        # The rule comes first: a condition about a row that is not the caller's must not be answered.
        checked.update_whereclause = _Upserted(table, rules.both(rules.change), clause.update_whereclause)
        checked.update_values_to_set = self._checked_set(rules, values)
        return super().visit_on_conflict_do_update(checked, **kw)

    def visit_upserted(self, element: _Upserted, **kw: Any) -> str:
        asked = self.true if element.asked is None else self.process(element.asked, **kw)
        return f"CASE WHEN {self.rule(element.rule, element.table)} THEN {asked} ELSE {self.refusal} END"

    def _checked_set(self, rules: Guarded, values: dict[Any, Any]) -> dict[Any, Any]:
        hidden = [rules.hidden[column.key] for column in values if column.key in rules.hidden]
        names = {column.key for column in values}
        is_asked = hidden or not columns_of(rules.change, rules.table).isdisjoint(names)
        if not is_asked:
            return values
        written = {c.key: self.typed(self._set_text(value), c) for c, value in values.items()}
        after = [_replaced(rule, rules.table, written) for rule in (rules.change, *hidden)]
        first, value = next(iter(values.items()))
        return {**values, first: _Required(rules.table, and_(*hidden, *after), value, first)}

    def _set_text(self, value: Any) -> str:
        return f"({self.process(value.self_group(), use_schema=False, is_upsert_set=True)})"

    def visit_required(self, element: _Required, **kw: Any) -> str:
        required = self.required(self.rule(element.condition, element.table))
        value = self._set_text(element.value)
        return f"CASE WHEN {required} THEN {self.typed(value, element.column)} END"

    def _refuse_unknown(self, table: Any, keys: Iterable[Any]) -> None:
        """SQLAlchemy writes a name that no column has as it is, and SQLite takes `OWNER` for `owner`."""
        for key in keys:
            if _column(table, key) is None:
                refuse(
                    f"an upsert sets {str(key)!r}, which is no column of {table.name!r}.", "", str(key), table.c.keys()
                )


_VALUES = " VALUES ("


@dataclass(frozen=True, slots=True)
class _Inserted:
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


def _column(table: Any, key: Any) -> Any:
    """The column of *table* that SET names by *key*; None where it has none."""
    if isinstance(key, str):
        return table.c.get(key)
    return key if table.c.get(getattr(key, "key", None)) is key else None


def _typed_bind(value: Any, column: Any) -> Any:
    """A plain value with the type of its column, as SQLAlchemy would make it; once, because it is written twice."""
    is_untyped = getattr(value, "_is_bind_parameter", False) and value.type._isnull
    return value._with_binary_element_type(column.type) if is_untyped else value


def columns_of(rule: Rule, table: Table) -> set[str]:
    """The keys of the columns of *table* that *rule* is about."""
    found: Iterator[Any] = visitors.iterate(rule)
    return {element.key for element in found if _is_column_of(table, element)}


def _asks(rules: Guarded, statement: Any) -> bool:
    """Whether *statement*, or a rule about it, has a subquery."""
    parts = (statement, rules.read, rules.change, *rules.hidden.values())
    return any(isinstance(element, SelectBase) for part in parts for element in visitors.iterate(part))


def _is_column_of(table: Table, element: Any) -> bool:
    return isinstance(element, Column) and element.table is not None and element.table._deannotate() is table


def _replaced(rule: Rule, table: Table, written: Mapping[str, str]) -> Rule:
    """*rule* with what is *written* to each column of *table* in the column's place."""

    def value_for(element: Any, **_: Any) -> Any:
        if _is_column_of(table, element) and element.key in written:
            return Written(written[element.key], element.type)
        return None

    replaced: Rule = visitors.replacement_traverse(rule, {}, value_for) if written else rule
    return replaced


def _refuse_in_cte(rules: Guarded, visiting_cte: Any) -> None:
    """Nobody hears how many rows a CTE wrote, so nobody could be told of those that a rule kept it from."""
    if visiting_cte is not None:
        refuse(
            f"rows of {rules.table.name!r}, which are their owners', are changed or deleted within a CTE.",
            "Change them by a statement of its own, with returning() for what the next one needs.",
        )


def _refuse_stamped(rules: Guarded, column: Any) -> None:
    if column.key in rules.stamp:
        refuse(
            f"a statement changes {rules.table.name}.{column.name}, which says whose row it is.",
            "It is written when the row is inserted, and never again; leave it out.",
        )
