"""Random statements over the library: selects of every form that read sets know of, and writes.

Every choice is `choose(n)`, so a seed or Hypothesis decides all of them.
"""

from __future__ import annotations

from typing import Any

from library import TABLES, Choose, author, book, loan, member, review, row_for, value_for
from sqlalchemy import (
    Column,
    Table,
    and_,
    case,
    delete,
    except_,
    exists,
    func,
    insert,
    intersect,
    literal,
    not_,
    or_,
    select,
    tuple_,
    union,
    union_all,
    update,
)

LINKS = (
    (book, "author_id", author, "id"),
    (loan, "book_id", book, "id"),
    (review, "loan_id", loan, "id"),
    (author, "boss_id", author, "id"),
    (loan, "reader", member, "subject"),
    (author, "name", member, "subject"),
)


class Selects:
    """Makes selects; every answer has one order only where it is limited."""

    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        self.names = 0

    def one(self) -> Any:
        make = (
            self.plain,
            self.plain,
            self.plain,
            self.joined,
            self.joined,
            self.missing,
            self.united,
            self.with_cte,
            self.grouped,
            self.summed,
            self.followed,
        )
        return self.pick(make)()

    # Forms.

    def plain(self) -> Any:
        froms = [self.alias(self.pick(TABLES))]
        if self.choose(5) == 0:
            froms.append(self.alias(self.pick(TABLES)))
        return self.shaped(select(*self.columns(froms)).where(*self.conditions(froms)), froms)

    def joined(self) -> Any:
        tree, froms = self.tree()
        return self.shaped(select(*self.columns(froms)).select_from(tree).where(*self.conditions(froms)), froms)

    def missing(self) -> Any:
        """What has no counterpart, or one that is not known: where the two sides of an outer join differ most."""
        a, a_key, b, b_key = self.pick(LINKS)
        near, far = self.alias(a), self.alias(b)
        on = and_(near.c[a_key] == far.c[b_key], self.condition([self.pick((near, far))], 0))
        tree = near.join(far, on, isouter=True) if self.choose(2) else far.join(near, on, isouter=True)
        other = self.pick((near, far))
        column = self.column([other])
        where = (
            or_(column.is_(None), column == value_for(_real(column), self.choose))
            if self.choose(2)
            else column.is_(None)
        )
        return (
            select(near.c.id.label("near"), far.c.id.label("far"))
            .select_from(tree)
            .where(where, *self.conditions([near])[:1])
        )

    def grouped(self) -> Any:
        tree, froms = self.tree()
        column = self.column(froms)
        statement = select(column, func.count(), func.max(self.column(froms, "id"))).select_from(tree)
        statement = statement.where(*self.conditions(froms)).group_by(column)
        return statement.having(func.count() > 1) if self.choose(3) == 0 else statement

    def united(self) -> Any:
        arms = [self.narrow() for _ in range(2 + self.choose(2))]
        return self.pick((union, union_all, intersect, except_))(*arms)

    def summed(self) -> Any:
        """Of all rows, maybe of none: there is always one row, and it changes with any of them."""
        tree, froms = self.tree()
        counted = func.count(self.column(froms)).filter(self.condition(froms, 0))
        chosen = case((self.condition(froms, 0), self.column(froms, "id")), else_=0)
        return (
            select(counted, func.sum(chosen), func.min(self.column(froms, "id")))
            .select_from(tree)
            .where(*self.conditions(froms))
        )

    def followed(self) -> Any:
        """From boss to boss."""
        start = self.alias(author)
        chain = select(start.c.id.label("n"), start.c.boss_id.label("up")).where(*self.conditions([start]))
        found = chain.cte(self.name(), recursive=True)
        above = self.alias(author)
        found = found.union(select(above.c.id, above.c.boss_id).where(above.c.id == found.c.up))
        table = self.alias(book)
        return (
            select(table.c.id, found.c.n).join(found, table.c.author_id == found.c.n).where(*self.conditions([table]))
        )

    def with_cte(self) -> Any:
        inner = self.narrow().cte(self.name()) if self.choose(2) else self.narrow().subquery(self.name())
        table = self.alias(book)
        joined = table.join(inner, table.c.id == inner.c.n, isouter=self.choose(2) == 0)
        return select(table.c.id, table.c.shelf, inner.c.n).select_from(joined).where(*self.conditions([table]))

    def narrow(self) -> Any:
        """A select of one integer, n."""
        froms = [self.alias(self.pick(TABLES))]
        return select(self.column(froms, "id").label("n")).where(*self.conditions(froms))

    def tree(self) -> tuple[Any, list[Any]]:
        """A tree of joins, and the tables in it."""
        link = self.pick(LINKS)
        left, right = self.alias(link[0]), self.alias(link[2])
        froms = [left, right]
        on = left.c[link[1]] == right.c[link[3]]
        tree: Any = self.join(left, right, on, froms)
        for _ in range(self.choose(3)):
            known = [(f, link) for f in froms for link in LINKS if _table_of(f) in (link[0], link[2])]
            base, (a, a_key, b, b_key) = self.pick(known)
            is_from_left = _table_of(base) is a
            other = self.alias(b if is_from_left else a)
            on = base.c[a_key] == other.c[b_key] if is_from_left else base.c[b_key] == other.c[a_key]
            froms.append(other)
            if self.choose(4) == 0 and tree is not None:
                tree = other.join(tree, on, isouter=self.choose(2) == 0)
            else:
                tree = self.join(tree, other, on, froms)
        return tree, froms

    def join(self, left: Any, right: Any, on: Any, froms: list[Any]) -> Any:
        if self.choose(3) == 0:
            on = and_(on, self.condition([right] if self.choose(2) else froms[-2:]))
        kind = self.choose(6)
        return left.join(right, on, isouter=kind in (1, 2), full=kind == 3)

    def shaped(self, statement: Any, froms: list[Any]) -> Any:
        kind = self.choose(8)
        if kind == 0:
            statement = statement.order_by(*statement.selected_columns).limit(1 + self.choose(3))
            statement = statement.offset(1) if self.choose(3) == 0 else statement
        elif kind == 1:
            statement = statement.distinct()
        elif kind == 2:
            # Rows that nothing puts in order would be counted as the plan has it.
            over = func.row_number().over(partition_by=self.column(froms), order_by=[each.c.id for each in froms])
            statement = statement.add_columns(over.label("place"))
        elif kind == 3:
            statement = statement.add_columns(self.scalar(froms).label("looked_up"))
        return statement

    # Conditions.

    def conditions(self, froms: list[Any]) -> list[Any]:
        return [self.condition(froms) for _ in range((0, 1, 1, 2)[self.choose(4)])]

    def condition(self, froms: list[Any], depth: int = 2) -> Any:
        kinds = [self.equal] * 4 + [self.among, self.null, self.unequal, self.subquery, self.truth, self.pairs]
        if depth:
            kinds += [self.either, self.both, self.negated]
        return self.pick(kinds)(froms, depth - 1)

    def equal(self, froms: list[Any], _: int) -> Any:
        column = self.column(froms)
        same = [c for f in froms for c in f.c if type(c.type) is type(column.type)]
        if self.choose(5) == 0:
            return column == self.pick(same)
        value = value_for(_real(column), self.choose)
        return literal(value, column.type) == column if value is not None and self.choose(4) == 0 else column == value

    def among(self, froms: list[Any], _: int) -> Any:
        column = self.column(froms)
        return column.in_([value_for(_real(column), self.choose) for _ in range(self.choose(4))])

    def pairs(self, froms: list[Any], _: int) -> Any:
        base = self.pick(froms)
        columns = [self.pick(list(base.c)) for _ in range(2)]
        values = [tuple(value_for(_real(column), self.choose) for column in columns) for _ in range(1 + self.choose(2))]
        return tuple_(*columns).in_(values)

    def null(self, froms: list[Any], _: int) -> Any:
        column = self.column(froms)
        return column.is_(None) if self.choose(3) else column.is_not(None)

    def unequal(self, froms: list[Any], _: int) -> Any:
        return self.column(froms, "id") > 1 + self.choose(4)

    def truth(self, froms: list[Any], _: int) -> Any:
        return literal(self.choose(3) > 0)

    def either(self, froms: list[Any], depth: int) -> Any:
        return or_(*(self.condition(froms, depth) for _ in range(2 + self.choose(2))))

    def both(self, froms: list[Any], depth: int) -> Any:
        return and_(self.condition(froms, depth), self.condition(froms, depth))

    def negated(self, froms: list[Any], depth: int) -> Any:
        return not_(self.condition(froms, depth))

    def subquery(self, froms: list[Any], _: int) -> Any:
        kind = self.choose(3)
        if kind == 0:
            among = self.column(froms, "id").in_(self.narrow())
            return among if self.choose(2) else ~among
        inner, outer = self.alias(self.pick(TABLES)), self.pick(froms)
        conditions = [self.condition([inner], 0)]
        if kind == 1:
            conditions.append(inner.c.id == outer.c.id)
        found = exists(select(inner.c.id).where(*conditions).correlate(*froms))
        return found if self.choose(2) else ~found

    def scalar(self, froms: list[Any]) -> Any:
        inner, outer = self.alias(self.pick(TABLES)), self.pick(froms)
        found = select(func.count()).select_from(inner).where(inner.c.id == outer.c.id, *self.conditions([inner]))
        return found.correlate(*froms).scalar_subquery()

    # Parts.

    def pick(self, among: Any) -> Any:
        return among[self.choose(len(among))]

    def name(self) -> str:
        self.names += 1
        return f"part_{self.names}"

    def alias(self, table: Table) -> Any:
        return table.alias(self.name())

    def column(self, froms: list[Any], name: str = "") -> Any:
        base = self.pick(froms)
        return base.c[name] if name else self.pick(list(base.c))

    def columns(self, froms: list[Any]) -> list[Any]:
        return [self.column(froms).label(f"c{n}") for n in range(2 + self.choose(4))]


def write(choose: Choose) -> Any:
    """A random write of one or a few rows. On SQLite some remove whatever stands in their way."""
    written = _written(choose)
    is_replacing = not written.is_delete and choose(4) == 0
    return written.prefix_with("OR REPLACE", dialect="sqlite") if is_replacing else written


def _written(choose: Choose) -> Any:
    table = TABLES[choose(len(TABLES))]
    kind = choose(8)
    if kind > 4:
        return insert(table).values(**row_for(table, choose))
    if kind == 0:
        return delete(table).where(table.c.id == value_for(table.c.id, choose))
    columns = [column for column in table.c if column.foreign_keys or column.primary_key or column.index]
    column = columns[choose(len(columns))]
    where = column == value_for(column, choose)
    changed = [column for column in table.c if not column.primary_key]
    column = changed[choose(len(changed))]
    return update(table).where(where).values({column.name: value_for(column, choose)})


def _table_of(alias: Any) -> Table:
    table: Table = alias.element
    return table


def _real(column: Any) -> Column[Any]:
    real: Column[Any] = _table_of(column.table).c[column.name]
    return real
