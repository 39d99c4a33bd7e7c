"""SQLAlchemy's own session keeps to the same rules."""

from __future__ import annotations

from typing import Any

import pytest
from archive import attempt, foreign, touched
from archive_models import ANN, FOREIGN, HIDDEN, SEEN, ZOE, Diary, Note, Topic
from session_forms import FORMS
from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.orm import joinedload

from toque.contract.errors import Forbidden, NotFound
from toque.store import Store
from toque.store.guard import Refused


async def _in_session(store: Store, act: Any, principal: Any = ANN) -> Any:
    async def run(db: Any) -> Any:
        async with db.session() as session:
            return await act(session)

    return await attempt(store, run, principal)


async def test_a_session_loads_permitted_rows_and_fields(archive: Store) -> None:
    async def load(session: Any) -> Any:
        found = (await session.scalars(select(Note).options(joinedload(Note.topic)).order_by(Note.id))).all()
        return [(note.id, note.secret, note.topic.name) for note in found]

    outcome = await _in_session(archive, load)

    assert outcome.result == [(1, "my secret", "cooking"), (2, None, "cooking"), (5, "my old secret", "wine")]


async def test_a_session_gets_no_foreign_row(archive: Store) -> None:
    outcome = await _in_session(archive, lambda session: session.get(Note, 3))

    assert outcome.error is None
    assert outcome.result is None


async def test_one_compiled_statement_serves_every_caller(archive: Store) -> None:
    async def load(session: Any) -> Any:
        return sorted((await session.scalars(select(Note.id))).all())

    assert (await _in_session(archive, load)).result == SEEN
    assert (await _in_session(archive, load, ZOE)).result == [4]
    assert (await _in_session(archive, load)).result == SEEN


@pytest.mark.parametrize("count", [1, 3])
async def test_added_rows_are_stamped(archive: Store, count: int) -> None:
    async def add(session: Any) -> Any:
        notes = [Note(project=1, slug=f"new{n}", author="bob", tenant="zeta", level=1) for n in range(count)]
        session.add_all(notes)
        await session.flush()
        return [note.id for note in notes]

    outcome = await _in_session(archive, add)

    new = [outcome.after["note"][key] for key in outcome.result]
    assert [(row[1], row[2]) for row in new] == [("acme", "ann")] * count


async def test_a_bulk_insert_with_returning_is_stamped(archive: Store) -> None:
    async def add(session: Any) -> Any:
        rows = [{"project": 1, "slug": f"new{n}", "author": "bob", "level": 1} for n in range(3)]
        return (await session.execute(insert(Note).returning(Note.author, Note.slug), rows)).all()

    outcome = await _in_session(archive, add)

    assert sorted(outcome.result) == [("ann", "new0"), ("ann", "new1"), ("ann", "new2")]


async def test_an_added_row_that_the_rule_forbids_is_forbidden(archive: Store) -> None:
    async def add(session: Any) -> None:
        session.add(Note(project=1, slug="new", level=9))
        await session.flush()

    outcome = await _in_session(archive, add)

    assert isinstance(outcome.error, Forbidden)


async def test_a_changed_row_is_written(archive: Store) -> None:
    async def change(session: Any) -> None:
        note = await session.get(Note, 1)
        note.text = "changed"

    outcome = await _in_session(archive, change)

    assert outcome.error is None
    assert outcome.after["note"][1][5] == "changed"


@pytest.mark.parametrize("act", ["change", "delete"])
async def test_a_flush_of_what_is_only_read_is_an_error(archive: Store, act: str) -> None:
    async def write(session: Any) -> None:
        note = await session.get(Note, 2)
        if act == "change":
            note.text = "changed"
        else:
            await session.delete(note)

    outcome = await _in_session(archive, write)

    assert isinstance(outcome.error, Forbidden)
    assert outcome.after["note"] == outcome.before["note"]


@pytest.mark.parametrize(
    "statement",
    [
        update(Note).where(Note.tenant == "zeta").values(text="x"),
        delete(Note).where(Note.tenant == "zeta"),
        update(Note).where(Note.id == 3).values(text="x"),
    ],
)
async def test_bulk_writes_leave_foreign_rows_alone(archive: Store, statement: Any) -> None:
    outcome = await _in_session(archive, lambda session: session.execute(statement))

    assert outcome.after == outcome.before


async def test_a_bulk_update_by_key_leaves_foreign_rows_alone(archive: Store) -> None:
    outcome = await _in_session(
        archive, lambda session: session.execute(update(Note), [{"id": 1, "text": "x"}, {"id": 3, "text": "y"}])
    )

    assert outcome.after["note"][3] == outcome.before["note"][3]


async def test_a_session_refuses_texts(archive: Store) -> None:
    outcome = await _in_session(archive, lambda session: session.execute(text("SELECT secret FROM note")))

    assert isinstance(outcome.error, Refused)


async def test_a_session_refuses_sql_past_the_compiler(archive: Store) -> None:
    async def run(session: Any) -> Any:
        connection = await session.connection()
        return (await connection.exec_driver_sql("SELECT secret FROM note")).all()

    outcome = await _in_session(archive, run)

    assert isinstance(outcome.error, TypeError)


async def test_no_parameter_of_a_session_stands_for_a_fact(archive: Store) -> None:
    async def load(session: Any) -> Any:
        return (await session.execute(select(Note.text), {"me_subject_1": "bob", "me_tenant_1": "zeta"})).all()

    outcome = await _in_session(archive, load)

    assert all(FOREIGN not in row[0] and HIDDEN not in row[0] for row in outcome.result or ())


async def test_a_merged_row_does_not_take_a_foreign_key(archive: Store) -> None:
    outcome = await _in_session(archive, lambda session: session.merge(Diary(id=2, page="mine now")))

    assert outcome.error is not None
    assert outcome.after["diary"] == outcome.before["diary"]


async def test_shared_rows_are_shared(archive: Store) -> None:
    statement = select(Topic.name).where(Topic.id == bindparam("it"))
    outcome = await _in_session(archive, lambda session: session.scalar(statement, {"it": 2}))

    assert outcome.result == "wine"


@pytest.mark.parametrize("name", FORMS)
async def test_whatever_a_session_is_made_to_say_it_keeps_to_the_rules(archive: Store, name: str) -> None:
    act, expected = FORMS[name]

    outcome = await _in_session(archive, act)

    assert foreign(outcome.result) == []
    assert touched(outcome) == {}
    if isinstance(expected, type):
        assert isinstance(outcome.error, expected), (outcome.error, outcome.result)
    else:
        assert outcome.error is None
        is_list = isinstance(expected, list)
        assert (sorted(outcome.result, key=repr) if is_list else outcome.result) == (
            sorted(expected, key=repr) if is_list else expected
        )


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        (update(Note).where(Note.id.in_([1, 3])).values(text="x"), NotFound),
        (update(Note).where(Note.id == 3).values(text="x").returning(Note.id), NotFound),
        (update(Note).where(Note.id == 3).values(text="x").execution_options(synchronize_session="fetch"), NotFound),
        (update(Note).where(Note.id == 3, Note.project == 1).values(text="x"), NotFound),
        (update(Note).where(Note.id == 2).values(text="x"), Forbidden),
        (update(Note).where(Note.id == 2, Note.author == "bob").values(text="x"), Forbidden),
        (update(Note).where(Note.text != "").values(text="x"), Forbidden),
        (delete(Note).where(Note.project > 0), Forbidden),
        (delete(Note).where(Note.id.in_([1, 999])), NotFound),
        (update(Note).where(Note.id == 1, Note.text == "what it is not").values(text="x"), None),
    ],
)
async def test_a_sessions_write_hears_what_any_other_hears(archive: Store, statement: Any, error: Any) -> None:
    outcome = await _in_session(archive, lambda session: session.execute(statement))
    plainly = await attempt(archive, lambda db: db.execute(statement))

    assert type(outcome.error) is type(plainly.error) is (error or type(None))


async def test_a_statement_from_the_cache_is_asked_about_its_own_rows(archive: Store) -> None:
    async def change(session: Any) -> None:
        for key in (1, 3):
            await session.execute(update(Note).where(Note.id == key, Note.level < 9).values(text="x"))

    assert isinstance((await _in_session(archive, change)).error, NotFound)
