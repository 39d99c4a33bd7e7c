"""What statements of every form are taken to read, one by one; `test_soundness.py` tries very many."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from library import DATES, PEOPLE, UUIDS, State, author, book, loan, metadata, review
from sqlalchemy import (
    CHAR,
    Date,
    Float,
    ForeignKey,
    String,
    TypeDecorator,
    and_,
    bindparam,
    cast,
    exists,
    false,
    func,
    insert,
    literal,
    literal_column,
    not_,
    or_,
    select,
    text,
    true,
    union,
)
from sqlalchemy.dialects.postgresql import CITEXT
from sqlalchemy.dialects.sqlite import DATE as SqliteDate
from sqlalchemy.orm import Mapped, aliased, mapped_column, relationship

from own_models import LibraryBase
from toque.cache.change import Change
from toque.cache.keys import key_of
from toque.cache.predicates import LIST_MAX
from toque.cache.read_sets import Reading, Readings
from toque.contract.principal import ANONYMOUS, Principal
from toque.store.dialects import postgresql, sqlite
from toque.store.guard import guard_of
from toque.store.plans import Plans
from toque.store.sql import Sql

ANN, BOB, CHEF, NOBODY = PEOPLE


@pytest.fixture(params=["sqlite", "postgresql"])
def plans(request: pytest.FixtureRequest) -> Plans:
    dialect = {"sqlite": sqlite, "postgresql": postgresql}[request.param]()
    return Plans(dialect, guard_of(metadata, Sql(texts={"1 = 1"}, functions={"mine"}), []))


def _reading(plans: Plans, statement: Any) -> tuple[Reading, Any]:
    plan, binds = plans.plan(statement, None)
    return Readings(plans).of(plan), binds


def _read(plans: Plans, statement: Any, principal: Principal = ANONYMOUS, **parameters: Any) -> set[str]:
    """The predicates in words: `book(shelf=1)`, and `book` for all rows."""
    reading, binds = _reading(plans, statement)
    assert reading.untrackable == ()
    found = set()
    for table, columns, values in reading.read_set(binds, parameters, principal).predicates:
        pairs = ", ".join(f"{c}={v}" for c, v in zip(columns, values, strict=True))
        found.add(f"{table}({pairs})" if pairs else table)
    return found


EQUALITIES = {
    "a value": (select(book.c.id).where(book.c.shelf == 1), {"book(shelf=1)"}),
    "a value on the left": (select(book.c.id).where(literal(1) == book.c.shelf), {"book(shelf=1)"}),
    "two values": (select(book.c.id).where(book.c.shelf == 1, book.c.id == 2), {"book(id=2, shelf=1)"}),
    "a text": (select(author.c.id).where(author.c.name == "ann"), {"author(name=ann)"}),
    "an enum": (select(book.c.id).where(book.c.state == State.NEW), {"book(state=NEW)"}),
    "a UUID": (select(book.c.id).where(book.c.code == UUIDS[1]), {f"book(code={UUIDS[1].hex})"}),
    "a date": (select(book.c.id).where(book.c.printed == DATES[0]), {"book(printed=2020-01-01)"}),
    "a boolean": (select(book.c.id).where(book.c.lent == literal(True)), {"book(lent=1)"}),
    "NULL": (select(book.c.id).where(book.c.shelf.is_(None)), {"book(shelf=None)"}),
    "equal to NULL": (select(book.c.id).where(book.c.shelf == literal(None, book.c.shelf.type)), set()),
    "never": (select(book.c.id).where(false()), set()),
    "always": (select(book.c.id).where(true()), {"book"}),
    "a list": (select(book.c.id).where(book.c.shelf.in_([1, 2])), {"book(shelf=1)", "book(shelf=2)"}),
    "a list with NULL": (select(book.c.id).where(book.c.shelf.in_([1, None])), {"book(shelf=1)"}),
    "no list": (select(book.c.id).where(book.c.shelf.in_([])), set()),
    "either": (
        select(book.c.id).where(or_(book.c.shelf == 1, and_(book.c.id == 2, book.c.shelf == 3))),
        {"book(shelf=1)", "book(id=2, shelf=3)"},
    ),
    "one side of either": (select(book.c.id).where(or_(book.c.shelf == 1, book.c.note == "x")), {"book"}),
    "a column without a key": (select(book.c.id).where(book.c.note == "x", book.c.shelf == 1), {"book(shelf=1)"}),
    "a type without a form": (select(book.c.id).where(book.c.price == 1, book.c.shelf == 1), {"book(shelf=1)"}),
    "not": (select(book.c.id).where(not_(book.c.shelf == 1)), {"book"}),
    "unequal": (select(book.c.id).where(book.c.shelf != 1), {"book"}),
    "more than": (select(book.c.id).where(book.c.shelf > 1, book.c.id == 1), {"book(id=1)"}),
    "a function": (select(author.c.id).where(func.lower(author.c.name) == "ann"), {"author"}),
    "a condition of no rows": (select(book.c.id).where(literal(False)), set()),
    "limit": (select(book.c.id).where(book.c.shelf == 1).order_by(book.c.id).limit(3), {"book(shelf=1)"}),
    "an aggregate": (select(func.count(book.c.id)).where(book.c.shelf == 1), {"book(shelf=1)"}),
    "having": (
        select(book.c.shelf).group_by(book.c.shelf).having(func.max(book.c.id) == 1),
        {"book"},
    ),
    "a window": (
        select(func.row_number().over(order_by=book.c.id)).where(book.c.shelf == 1),
        {"book(shelf=1)"},
    ),
}

B, A, A2 = book, author, author.alias()

JOINS = {
    "inner": (
        select(B.c.id).join(A, B.c.author_id == A.c.id).where(A.c.id == 1),
        {"author(id=1)", "book(author_id=1)"},
    ),
    "by commas": (
        select(B.c.id, A.c.id).where(B.c.author_id == A.c.id, B.c.author_id == 1),
        {"author(id=1)", "book(author_id=1)"},
    ),
    "inner without a value": (select(B.c.id).join(A, B.c.author_id == A.c.id), {"author", "book"}),
    "the kept side tells of the other": (
        select(B.c.id).outerjoin(A, B.c.author_id == A.c.id).where(B.c.author_id == 1),
        {"author(id=1)", "book(author_id=1)"},
    ),
    "the other tells nothing of the kept side": (
        select(B.c.id).outerjoin(A, B.c.author_id == A.c.id).where(A.c.id == 1),
        {"author", "book"},
    ),
    "WHERE tells nothing of the nullable side": (
        select(B.c.id).outerjoin(A, B.c.author_id == A.c.id).where(A.c.boss_id.is_(None)),
        {"author", "book"},
    ),
    "ON tells of the nullable side only": (
        select(B.c.id).outerjoin(A, and_(B.c.shelf == 1, A.c.name == "ann")),
        {"author(name=ann)", "book"},
    ),
    "full": (
        select(B.c.id).outerjoin(A, and_(B.c.author_id == A.c.id, A.c.name == "ann"), full=True).where(B.c.shelf == 1),
        {"author", "book"},
    ),
    "twice the same table": (
        select(A.c.id).join(A2, A.c.boss_id == A2.c.id).where(A.c.name == "ann", A2.c.name == "bob"),
        {"author(name=ann)", "author(name=bob)"},
    ),
    # What the database holds for equal is looked at for keys only.
    "by a column without a key": (
        select(B.c.id).join(A, B.c.note == A.c.name).where(B.c.note == "ann", B.c.shelf == 1),
        {"author", "book(shelf=1)"},
    ),
}

INNER = book.alias()

INSIDE = {
    "exists": (
        select(A.c.id).where(
            A.c.id == 1, exists(select(INNER.c.id).where(INNER.c.shelf == 2, INNER.c.author_id == A.c.id))
        ),
        {"author(id=1)", "book(shelf=2)"},
    ),
    "not exists": (
        select(A.c.id).where(~exists(select(INNER.c.id).where(INNER.c.shelf == 2))),
        {"author", "book(shelf=2)"},
    ),
    "in a subquery": (
        select(A.c.id).where(A.c.id.in_(select(INNER.c.author_id).where(INNER.c.shelf == 2))),
        {"author", "book(shelf=2)"},
    ),
    "a scalar": (
        select(select(func.count(INNER.c.id)).where(INNER.c.author_id == A.c.id).scalar_subquery()).where(A.c.id == 1),
        {"author(id=1)", "book"},
    ),
    "a subquery in FROM": (
        select(select(INNER.c.id).where(INNER.c.shelf == 2).subquery().c.id),
        {"book(shelf=2)"},
    ),
    "a CTE": (select(select(INNER.c.id).where(INNER.c.shelf == 2).cte().c.id), {"book(shelf=2)"}),
    "a union": (
        union(select(A.c.id).where(A.c.id == 1), select(INNER.c.id).where(INNER.c.shelf == 2)),
        {"author(id=1)", "book(shelf=2)"},
    ),
}


@pytest.mark.parametrize("name", EQUALITIES)
def test_an_equality_is_read(plans: Plans, name: str) -> None:
    statement, wanted = EQUALITIES[name]

    assert _read(plans, statement) == wanted


@pytest.mark.parametrize("name", JOINS)
def test_a_join_reads_of_each_table_what_it_must(plans: Plans, name: str) -> None:
    statement, wanted = JOINS[name]

    assert _read(plans, statement) == wanted


@pytest.mark.parametrize("name", INSIDE)
def test_a_select_within_is_read_too(plans: Plans, name: str) -> None:
    statement, wanted = INSIDE[name]

    assert _read(plans, statement) == wanted


def test_a_recursive_cte_reads_its_table_in_both_parts(plans: Plans) -> None:
    first = select(author.c.id, author.c.boss_id).where(author.c.id == 1).cte(recursive=True)
    up = first.union_all(select(A2.c.id, A2.c.boss_id).join(first, A2.c.id == first.c.boss_id))

    assert _read(plans, select(up.c.id)) == {"author"}


def test_a_list_that_is_too_long_is_not_used(plans: Plans) -> None:
    statement = select(book.c.id).where(book.c.shelf.in_(range(LIST_MAX + 1)), book.c.state == State.NEW)

    assert _read(plans, statement) == {"book(state=NEW)"}


def test_two_lists_are_used_as_long_as_they_are_few_together(plans: Plans) -> None:
    few = select(book.c.id).where(book.c.shelf.in_([1, 2]), book.c.id.in_([3, 4]))
    many = select(book.c.id).where(book.c.shelf.in_(range(9)), book.c.id.in_(range(9)), book.c.lent == literal(True))

    assert len(_read(plans, few)) == 4
    assert _read(plans, many) == {"book(lent=1)"}


@pytest.mark.parametrize("value", ["1", 1.0, True])
def test_a_value_of_another_type_is_not_compared(plans: Plans, value: Any) -> None:
    statement = select(book.c.id).where(book.c.shelf == bindparam("n"))

    assert _read(plans, statement, n=1) == {"book(shelf=1)"}
    assert _read(plans, statement, n=value) == {"book"}


def test_types_that_convert_are_not_compared(plans: Plans) -> None:
    class Shouted(TypeDecorator[str]):
        impl = String
        cache_ok = True

        def process_bind_param(self, value: Any, dialect: Any) -> Any:
            return value.upper()

    by_bind = select(author.c.id).where(author.c.name == bindparam("n", "ann", Shouted()))
    padded = select(author.c.id).where(author.c.name == bindparam("n", "ann ", CHAR(9)))

    assert _read(plans, by_bind) == _read(plans, padded) == {"author"}
    for kind in (
        Shouted(),
        CITEXT(),
        CHAR(3),
        String(collation="NOCASE"),
        SqliteDate(storage_format="%(year)d"),
        Float(),
    ):
        assert key_of(kind, plans.dialect.name) is None


def test_one_shape_is_looked_at_once_and_filled_each_time(plans: Plans) -> None:
    readings = Readings(plans)
    found = []
    for n in (1, 2):
        plan, binds = plans.plan(select(book.c.id).where(book.c.shelf == n), None)
        found.append((readings.of(plan), [p.values for p in readings.of(plan).read_set(binds).predicates]))

    assert found[0][0] is found[1][0]
    assert [values for _, values in found] == [[(1,)], [(2,)]]


def test_only_what_is_read_overlaps(plans: Plans) -> None:
    reading, binds = _reading(plans, select(book.c.id).where(book.c.shelf == 1))
    read_set = reading.read_set(binds)

    assert read_set.overlaps(Change("book", ({"id": 1, "shelf": 1},)))
    assert read_set.overlaps(Change("book", ({"shelf": 2}, {"shelf": 1}))), "a row that moves in or out"
    assert read_set.overlaps(Change("book", ({"id": 1},))), "an image that does not tell"
    assert read_set.overlaps(Change("book", None))
    assert read_set.overlaps(Change("*", None))
    assert not read_set.overlaps(Change("book", ({"shelf": 2},)))
    assert not read_set.overlaps(Change("author", None))


# Rules of rows.


def test_a_rule_narrows_what_is_read_and_tells_what_it_asks_of_the_caller(plans: Plans) -> None:
    statement = select(loan.c.days).where(loan.c.book_id == 7)
    reading, _ = _reading(plans.guarded, statement)

    assert _read(plans.guarded, statement, ANN) == {"loan(book_id=7, branch=north, reader=ann)"}
    assert _read(plans.guarded, statement, CHEF) == {
        "loan(book_id=7, branch=north, reader=cat)",
        "loan(book_id=7, branch=north)",
    }
    assert _read(plans.guarded, statement, NOBODY) == set(), "nobody has no branch, so he reads nothing"
    assert reading.facts == {("tenant", ()), ("subject", ()), ("role", ("librarian",))}


def test_without_the_guard_no_rule_counts(plans: Plans) -> None:
    reading, _ = _reading(plans, select(loan.c.days))

    assert _read(plans, select(loan.c.days)) == {"loan"}
    assert reading.facts == set()


def test_a_rule_tells_of_a_join_s_other_side(plans: Plans) -> None:
    statement = select(loan.c.id).join(review, review.c.branch == loan.c.branch)

    assert "review(branch=north)" in _read(plans.guarded, statement, ANN)


def test_a_rule_s_own_tables_are_read(plans: Plans) -> None:
    reading, _ = _reading(plans.guarded, select(review.c.stars))

    assert _read(plans.guarded, select(review.c.stars), ANN) == {"review(branch=north)", "member(subject=ann)"}
    assert reading.facts == {("tenant", ()), ("subject", ())}


def test_a_hidden_column_that_seems_null_may_be_any_value(plans: Plans) -> None:
    hidden = select(review.c.id).where(review.c.stars.is_(None))

    assert _read(plans, hidden) == {"review(stars=None)"}
    assert "review(branch=north)" in _read(plans.guarded, hidden, ANN)


# What cannot be tracked.

UNTRACKABLE = {
    "a text": (select(book.c.id).where(text("1 = 1")), "the text"),
    "a literal": (select(literal_column("(SELECT max(id) FROM author)")), "the text"),
    "a whole text": (text("SELECT id FROM book").columns(book.c.id), "a text"),
    "the clock": (select(func.now(), book.c.id), "another answer each time"),
    "chance": (select(book.c.id).order_by(func.random()), "another answer each time"),
    "an unknown function": (select(func.mine(book.c.id)), "what the function"),
    "an unknown operator": (select(book.c.id).where(book.c.id.op("<<<")(1)), "what the operator"),
    "a text that is a time": (
        select(book.c.id).where(book.c.printed == cast(bindparam("d", "now", String), Date)),
        "now",
    ),
    "a lock": (select(book.c.id).with_for_update(), "locks"),
    "a write": (insert(book).values(id=1).returning(book.c.id), "writes"),
    "a sample": (select(func.count()).select_from(book.tablesample(10)), "TABLESAMPLE"),
    "a prefix": (select(book.c.id).prefix_with("ALL"), "prefix"),
}


@pytest.mark.parametrize("name", UNTRACKABLE)
def test_what_cannot_be_tracked_says_why(plans: Plans, name: str) -> None:
    statement, reason = UNTRACKABLE[name]
    if name == "a sample" and plans.dialect.name == "sqlite":
        return

    reading, _ = _reading(plans, statement)

    assert any(reason in why for why in reading.untrackable), reading.untrackable


# Mapped classes.


class Shelf(LibraryBase, shared=True):
    __tablename__ = "read_shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    room: Mapped[int] = mapped_column(index=True)
    things: Mapped[list[Thing]] = relationship(back_populates="shelf")


class Thing(LibraryBase, shared=True):
    __tablename__ = "read_thing"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int] = mapped_column(ForeignKey("read_shelf.id"))
    label_: Mapped[str] = mapped_column("label", index=True)
    shelf: Mapped[Shelf] = relationship(back_populates="things")


MAPPED = {
    "an entity": (select(Thing).where(Thing.shelf_id == 1), {"read_thing(shelf_id=1)"}),
    "another name for a column": (select(Thing).where(Thing.label_ == "x"), {"read_thing(label=x)"}),
    "a relationship": (
        select(Thing).join(Thing.shelf).where(Shelf.id == 1),
        {"read_shelf(id=1)", "read_thing(shelf_id=1)"},
    ),
    "any": (select(Shelf).where(Shelf.things.any(Thing.label_ == "x")), {"read_shelf", "read_thing(label=x)"}),
}


@pytest.mark.parametrize("name", MAPPED)
def test_mapped_classes_are_read_as_their_tables(name: str) -> None:
    plans = Plans(sqlite(), guard_of(LibraryBase.metadata, Sql(), []))
    statement, wanted = MAPPED[name]

    assert _read(plans.guarded, statement) == wanted


def test_an_alias_of_a_class_is_read_as_its_table() -> None:
    plans = Plans(sqlite(), guard_of(LibraryBase.metadata, Sql(), []))
    other = aliased(Thing)
    statement = select(Thing.id).join(other, other.shelf_id == Thing.shelf_id).where(other.label_ == "x")

    assert _read(plans.guarded, statement) == {"read_thing"}


def test_unlike_uuids_are_unlike(plans: Plans) -> None:
    assert _read(plans, select(book.c.id).where(book.c.code == uuid4())) != _read(
        plans, select(book.c.id).where(book.c.code == uuid4())
    )
