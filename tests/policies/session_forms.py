"""What Ann tries by a session: all that an object, its loading and its flush can be made to say.

A form is an act on the session, and the keys or values that it comes back with, or the error. Whatever the outcome, no
foreign row comes back and none is touched (`test_policy_session.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archive_models import SEEN, Diary, Note, Topic
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    event,
    func,
    insert,
    lambda_stmt,
    literal,
    select,
    text,
    true,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import (
    aliased,
    column_property,
    immediateload,
    joinedload,
    registry,
    relationship,
    selectinload,
    subqueryload,
    with_loader_criteria,
)
from sqlalchemy.orm.session import make_transient_to_detached
from sqlalchemy.types import TypeDecorator

from toque.contract.errors import Conflict, Forbidden, NotFound
from toque.store.guard import Refused

FORMS: dict[str, tuple[Callable[[Any], Any], Any]] = {}


def form(outcome: Any) -> Callable[[Any], Any]:
    """The act of this name, and what comes of it."""

    def register(act: Callable[[Any], Any]) -> Callable[[Any], Any]:
        FORMS[act.__name__] = (act, outcome)
        return act

    return register


def made_up(name: str, *columns: Any, like: MetaData | None = None) -> Table:
    """A table object of one's own, with the name of an app's table."""
    return Table(name, like or MetaData(), Column("id", Integer, primary_key=True), *columns)


def mapped(table: Any, registered: registry | None = None, **options: Any) -> Any:
    kind = type("Mapped", (), {})
    (registered or registry()).map_imperatively(kind, table, **options)
    return kind


def stored(kind: Any, session: Any, **values: Any) -> Any:
    """An object of which the session is told that the database has it."""
    made = kind(**values)
    make_transient_to_detached(made)
    session.add(made)
    return made


def upsert(session: Any, **values: Any) -> Any:
    dialect: Any = postgresql if session.bind.dialect.name == "postgresql" else sqlite
    return dialect.insert(Note).values(**{"project": 1, "level": 1, **values})


async def ids(session: Any, statement: Any) -> list[Any]:
    return [note.id for note in (await session.scalars(statement)).unique()]


# Loading.


@form(SEEN)
async def joined_eagerly(session: Any) -> Any:
    return await ids(session, select(Note).options(joinedload(Note.topic)))


@form(SEEN)
async def loaded_by_a_second_select(session: Any) -> Any:
    return await ids(session, select(Note).options(selectinload(Note.topic)))


@form(SEEN)
async def loaded_by_a_subquery(session: Any) -> Any:
    return await ids(session, select(Note).options(subqueryload(Note.topic)))


@form(SEEN)
async def loaded_at_once(session: Any) -> Any:
    return await ids(session, select(Note).options(immediateload(Note.topic)))


@form(SEEN)
async def criteria_that_are_always_true(session: Any) -> Any:
    return await ids(session, select(Note).options(with_loader_criteria(Note, true(), include_aliases=True)))


@form(SEEN)
async def a_few_at_a_time(session: Any) -> Any:
    return [note.id for note in await session.scalars(select(Note).execution_options(yield_per=1))]


@form(SEEN)
async def streamed(session: Any) -> Any:
    return [note.id async for note in await session.stream_scalars(select(Note))]


@form(SEEN)
async def from_another_select(session: Any) -> Any:
    return await ids(session, select(Note).from_statement(select(Note.__table__)))


@form(SEEN)
async def from_a_union(session: Any) -> Any:
    return await ids(session, select(Note).from_statement(union_all(select(Note), select(Note))))


@form(Refused)
async def from_a_text(session: Any) -> Any:
    return await ids(session, select(Note).from_statement(text("SELECT * FROM note")))


@form([("mine",), ("shared with ann",), ("mine, closed",)])
async def columns_of_the_table(session: Any) -> Any:
    """Without an entity, what comes back is a result of the driver's cursor."""
    return (await session.execute(select(Note.__table__.c.text))).all()


@form(SEEN)
async def an_old_query(session: Any) -> Any:
    return await session.run_sync(lambda old: [note.id for note in old.query(Note).filter(true())])


@form(InvalidRequestError)
async def refreshed_into_being(session: Any) -> None:
    await session.refresh(stored(Note, session, id=3))


@form(None)
async def a_get_past_the_identity_map(session: Any) -> Any:
    stored(Note, session, id=3)
    return await session.get(Note, 3, populate_existing=True, with_for_update=True)


@form(SEEN)
async def a_hierarchy_of_ones_own(session: Any) -> Any:
    table = made_up("note", Column("author", String))
    kind = mapped(table, registered := registry(), polymorphic_on=table.c.author, polymorphic_identity="ann")
    registered.map_imperatively(type("Sub", (kind,), {}), inherits=kind, polymorphic_identity="bob")
    return await ids(session, select(kind))


@form([("shared with ann", "my secret"), ("shared with ann", "my old secret")])
async def a_column_of_a_subquery(session: Any) -> Any:
    table = made_up("topic")
    text_ = select(func.max(Note.text)).scalar_subquery()
    secret = select(func.max(Note.secret)).where(Note.topic_id == table.c.id).scalar_subquery()
    kind = mapped(table, properties={"text": column_property(text_), "secret": column_property(secret)})
    return [(one.text, one.secret) for one in await session.scalars(select(kind).order_by(table.c.id))]


@form([1, None])
async def a_relation_of_ones_own(session: Any) -> Any:
    note = mapped(made_up("note", like=(tables := MetaData())))
    label = Table("label", tables, Column("note_id", ForeignKey("note.id"), primary_key=True))
    kind = mapped(label, properties={"note": relationship(note, lazy="selectin")})
    found = await session.scalars(select(kind).order_by(label.c.note_id))
    return [one.note and one.note.id for one in found]


@form(["mine", "mine, closed", "shared with ann"])
async def columns_under_each_others_names(session: Any) -> Any:
    table = made_up("note", Column("text", String, key="secret"), Column("secret", String, key="text"))
    return sorted((await session.scalars(select(table.c.secret))).all())


@form(Refused)
async def a_type_that_selects(session: Any) -> Any:
    class Selecting(TypeDecorator[str]):
        impl = String
        cache_ok = True

        def column_expression(self, column: Any) -> Any:
            return text("(SELECT max(text) FROM note)")

    return (await session.scalars(select(type_coerce(Topic.name, Selecting())))).all()


@form([])
async def a_closure(session: Any) -> Any:
    key = 3
    return await ids(session, lambda_stmt(lambda: select(Note).where(Note.id == key)))


@form([])
async def no_parameters(session: Any) -> Any:
    statement = select(Note).where(Note.id == literal(3))
    return (await session.scalars(statement, execution_options={"no_parameters": True})).all()


# Past the compiler.


@form(TypeError)
async def a_listener_that_rewrites(session: Any) -> Any:
    def rewrite(*_: Any) -> Any:
        return "SELECT text FROM note", ()

    def run(connection: Any) -> Any:
        event.listen(connection, "before_cursor_execute", rewrite, retval=True)
        return connection.execute(select(Topic.name)).all()

    return await (await session.connection()).run_sync(run)


@form(TypeError)
async def a_cache_of_ones_own(session: Any) -> Any:
    statement = select(Note.id, Note.text)

    class Cache(dict[Any, Any]):
        def get(self, *_: Any) -> Any:
            return statement.compile(dialect=sqlite.dialect())

    def run(connection: Any) -> Any:
        return connection.execution_options(compiled_cache=Cache()).execute(statement).all()

    return await (await session.connection()).run_sync(run)


@form(TypeError)
async def a_map_of_schemas(session: Any) -> Any:
    """Which may turn a table that is shared into one of its name that is not."""
    return (await session.scalars(select(Topic.name), execution_options={"schema_translate_map": {None: "main"}})).all()


@form(RuntimeError)
async def another_connection(session: Any) -> Any:
    return await session.run_sync(lambda old: old.get_bind().engine.connect())


# Writing.


@form(NotFound)
async def a_change_of_what_was_never_read(session: Any) -> None:
    stored(Diary, session, id=2).page = "mine"
    await session.flush()


@form(NotFound)
async def a_removal_of_what_was_never_read(session: Any) -> None:
    await session.delete(stored(Diary, session, id=2))
    await session.flush()


@form(Conflict)
async def a_key_made_another(session: Any) -> None:
    (await session.get(Diary, 1)).id = 2
    await session.flush()


@form(Refused)
async def another_tenant(session: Any) -> None:
    (await session.get(Note, 1)).tenant = "zeta"
    await session.flush()


@form(NotFound)
async def merged_without_a_look(session: Any) -> None:
    note = Note(id=3, tenant="acme", author="ann", project=1, slug="x", text="x", level=1)
    make_transient_to_detached(note)
    (await session.merge(note, load=False)).text = "mine"
    await session.flush()


@form(NotFound)
async def mappings_in_bulk(session: Any) -> None:
    rows = [{"id": 1, "text": "x"}, {"id": 3, "text": "x"}]
    await session.run_sync(lambda old: old.bulk_update_mappings(Note, rows))


@form(None)
async def forged_mappings_in_bulk(session: Any) -> None:
    row = {"tenant": "zeta", "author": "zoe", "project": 1, "slug": "x", "level": 1}
    await session.run_sync(lambda old: old.bulk_insert_mappings(Note, [row]))


@form(0)
async def an_old_query_that_writes(session: Any) -> Any:
    def write(old: Any) -> Any:
        return old.query(Note).filter(Note.tenant == "zeta").update({"text": "x"}, synchronize_session="fetch")

    return await session.run_sync(write)


@form(["ann"] * 5)
async def many_rows_in_pages(session: Any) -> Any:
    rows = [{"project": 1, "slug": f"x{n}", "author": "bob", "tenant": "zeta", "level": 1} for n in range(5)]
    paged = {"insertmanyvalues_page_size": 2}
    statement = insert(Note).returning(Note.author, sort_by_parameter_order=True)
    return (await session.scalars(statement, rows, execution_options=paged)).all()


@form(Forbidden)
async def an_upsert_of_a_foreign_key(session: Any) -> Any:
    statement = upsert(session, id=3, slug="x").on_conflict_do_update(index_elements=["id"], set_={"text": "x"})
    return await ids(session, statement.returning(Note))


@form(Forbidden)
async def an_upsert_of_a_foreign_name(session: Any) -> Any:
    statement = upsert(session, slug="FOREIGN third")
    statement = statement.on_conflict_do_update(index_elements=["slug"], set_={"text": "x"}, where=Note.level < 9)
    return await ids(session, statement.returning(Note))


@form([])
async def an_upsert_that_does_nothing(session: Any) -> Any:
    statement = upsert(session, slug="FOREIGN third").on_conflict_do_nothing()
    return await ids(session, statement.returning(Note))


@form(Refused)
async def a_mapping_of_ones_own(session: Any) -> None:
    kind = mapped(made_up("note", Column("text", String)))
    stored(kind, session, id=3).text = "x"
    await session.flush()


@form(Refused)
async def children_that_lose_their_parent(session: Any) -> None:
    parent = made_up("topic", like=(tables := MetaData()))
    note = mapped(made_up("note", Column("topic_id", ForeignKey("topic.id")), like=tables))
    kind = mapped(parent, properties={"notes": relationship(note, lazy="selectin")})
    await session.delete(await session.get(kind, 2))
    await session.flush()


@form(Refused)
async def a_default_that_selects(session: Any) -> Any:
    default = select(func.max(Note.secret)).scalar_subquery()
    table = made_up("diary", Column("keeper", String), Column("page", String, default=default))
    return (await session.execute(insert(table).returning(table.c.page))).all()


@form([("shared with ann",), ("mine, closed",)])
async def shared_rows_from_others(session: Any) -> Any:
    own = aliased(Note)
    value = select(func.max(own.text)).where(own.topic_id == Topic.id).scalar_subquery()
    statement = update(Topic).values(name=value).returning(Topic.name)
    return (await session.execute(statement, execution_options={"synchronize_session": False})).all()
