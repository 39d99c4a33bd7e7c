"""T-AC-07: without the guarded compiler, the database itself lets no foreign row be read or changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Integer, cast, delete, func, insert, select, text, update
from vault import calling
from vault_models import Diary, Ledger, Note, Reader, State, Topic

from toque.contract.errors import Forbidden, Invalid
from toque.store import Store

ANA = calling("ana", "north")
BEN = calling("ben", "north")
EVA = calling("eva", "south")
NOBODY = calling()

VISIBLE = [
    pytest.param(ANA, [1, 3, 4, 5], id="ana of north"),
    pytest.param(BEN, [2, 3, 4], id="ben of north"),
    pytest.param(calling("ana", "south"), [6, 7, 8], id="ana of south"),
    pytest.param(EVA, [6, 8], id="eva of south"),
    pytest.param(calling("ana"), [], id="no tenant"),
    pytest.param(calling("", "north"), [3], id="no subject"),
    pytest.param(calling("ana' OR '1'='1", "north"), [3], id="a subject like SQL"),
    pytest.param(NOBODY, [], id="nobody"),
]

READS: dict[str, Callable[[], Any]] = {
    "plain": lambda: select(Note.id),
    "text": lambda: text("SELECT id FROM note"),
    "quoted": lambda: text('SELECT "note"."id" FROM "note"'),
    "self join": lambda: text("SELECT b.id FROM note a JOIN note b ON a.id = b.id"),
    "union": lambda: text("SELECT id FROM note UNION SELECT id FROM note"),
    "cte": lambda: text("WITH x AS (SELECT * FROM note) SELECT id FROM x"),
    "window": lambda: text("SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) FROM note) AS x"),
    "in": lambda: text("SELECT id FROM note WHERE id IN (SELECT id FROM note)"),
}


@pytest.mark.parametrize(("who", "ids"), VISIBLE)
async def test_a_read_gives_the_callers_rows(walled: Store, who: Any, ids: list[int]) -> None:
    for form in READS.values():

        async def read(db: Any, statement: Any = form) -> Any:
            return await db.all(int, statement())

        assert sorted(await walled.query(read, who)) == ids
        assert sorted(await walled.command(read, who)) == ids


@pytest.mark.parametrize(("who", "ids"), VISIBLE)
async def test_aggregates_and_streams_see_no_more(walled: Store, who: Any, ids: list[int]) -> None:
    async def read(db: Any) -> Any:
        counted = await db.scalar(select(func.count()).select_from(Note))
        biggest = await db.scalar(select(func.max(Note.id)))
        streamed = [one async for one in db.stream(int, select(Note.id).order_by(Note.id))]
        return counted, biggest, streamed

    assert await walled.query(read, who) == (len(ids), max(ids, default=None), ids)
    assert await walled.command(read, who) == (len(ids), max(ids, default=None), ids)


async def test_a_relation_is_read_past_the_rules_of_its_own_table(walled: Store) -> None:
    """Ana reads note 5 because of a row of `reader`, whose tenant is north's; and not note 2 by eva's."""

    async def read(db: Any) -> Any:
        return await db.all(int, select(Note.id)), await db.all(int, select(Reader.note_id))

    assert await walled.query(read, EVA) == ([6, 8], [8, 2])


async def everything(raw: Store) -> dict[str, list[Any]]:
    """Every row of every table, as its owner sees it."""

    async def read(db: Any) -> Any:
        found = {}
        for model in (Note, Reader, Diary, Ledger):
            key = model.__table__.primary_key.columns
            rows = select(func.json_array(*model.__table__.c)) if raw.dialect_name == "sqlite" else None
            rows = select(func.to_json(text(f'"{model.__tablename__}"'))).select_from(model) if rows is None else rows
            found[model.__tablename__] = [str(row) for row in await db.all(object, rows.order_by(*key))]
        return found

    return await raw.query(read)


WRITES: dict[str, tuple[Callable[[], Any], int | type[Exception]]] = {
    "change another's": (lambda: update(Note).where(Note.id == 2).values(text="mine"), 0),
    "change all": (lambda: update(Note).values(text="mine"), 1),
    "change what may only be read": (lambda: update(Note).where(Note.id == 3).values(text="mine"), 0),
    "give one's own away": (lambda: update(Note).where(Note.id == 1).values(author="ben"), Forbidden),
    "move one's own to another tenant": (lambda: update(Note).where(Note.id == 1).values(tenant="south"), Forbidden),
    "take another's": (lambda: update(Note).where(Note.id == 2).values(author="ana"), 0),
    "remove another's": (lambda: delete(Note).where(Note.id == 2), 0),
    "remove all": (lambda: delete(Note), 1),
    "insert another's": (
        lambda: insert(Note).values(id=90, tenant="north", author="ben", state=State.DRAFT),
        Forbidden,
    ),
    "insert for another tenant": (lambda: insert(Note).values(id=90, tenant="south", author="ana"), Forbidden),
    "insert what the rule forbids": (
        lambda: insert(Note).values(id=90, tenant="north", author="ana", text="it's :bad"),
        Forbidden,
    ),
    "insert one's own": (lambda: insert(Note).values(id=90, tenant="north", author="ana"), 1),
    "insert from what one sees": (
        lambda: text("INSERT INTO reader (note_id, subject, tenant) SELECT id, 'zoe', tenant FROM note"),
        4,
    ),
    "change by a subquery": (
        lambda: text("UPDATE note SET level = (SELECT count(*) FROM note AS n WHERE n.tenant = 'south') WHERE id = 1"),
        1,
    ),
    "change the diary of another": (lambda: update(Diary).where(Diary.id == 2).values(page="haha"), 0),
    "write the ledger": (lambda: insert(Ledger).values(id=2, amount=5), Forbidden),
    "change the ledger": (lambda: update(Ledger).values(amount=5), 0),
    "steal by upsert": (
        lambda: text(
            "INSERT INTO diary (id, owner, page) VALUES (2, 'ana', 'haha') "
            "ON CONFLICT (id) DO UPDATE SET owner = 'ana', page = excluded.page"
        ),
        -1,
    ),
    "own upsert": (
        lambda: text(
            "INSERT INTO diary (id, owner, page) VALUES (1, 'ana', 'new') "
            "ON CONFLICT (id) DO UPDATE SET page = excluded.page"
        ),
        1,
    ),
    "refer to what one sees": (
        lambda: insert(Diary).values(id=9, owner="ana", page="of note 1", note_id=1),
        1,
    ),
}


@pytest.mark.parametrize("form", WRITES)
async def test_a_write_changes_none_but_the_callers_rows(raw: Store, walled: Store, form: str) -> None:
    statement, expected = WRITES[form]
    before = await everything(raw)

    async def write(db: Any) -> Any:
        return await db.execute(statement())

    if expected in (Forbidden, -1):
        try:
            assert await walled.command(write, ANA) == 0
            assert expected == -1
        except Forbidden:
            pass
        assert await everything(raw) == before
        return
    assert await walled.command(write, ANA) == expected
    after = await everything(raw)
    changed = [row for table in before for row in set(before[table]) ^ set(after[table])]
    assert all("ana" in row or "zoe" in row for row in changed), changed
    if expected == 0:
        assert changed == []


async def test_a_role_a_scope_and_a_claim_open_what_they_should(raw: Store, walled: Store) -> None:
    async def change(db: Any) -> Any:
        return await db.execute(update(Note).values(text="edited"))

    async def clean(db: Any) -> Any:
        return await db.execute(delete(Note).where(Note.author != "dan"))

    for role in ("editor", "chief editor"):
        assert await walled.command(change, calling("dan", "north", roles=frozenset({role, "x'y"}))) == 1
    assert await walled.command(change, calling("dan", "north", roles=frozenset({"edit"}))) == 0
    cleaner = {"scopes": frozenset({"clean"})}
    assert await walled.command(clean, calling("dan", "north", **cleaner)) == 0
    assert await walled.command(clean, calling("dan", "north", **cleaner, claims={"level": 3})) == 0
    assert await walled.command(clean, calling("dan", "north", **cleaner, claims={"level": 4})) == 1


async def test_a_shared_table_is_nobodys_affair(walled: Store) -> None:
    async def write(db: Any) -> Any:
        await db.execute(insert(Topic).values(id=2, title="fish"))
        return await db.all(str, select(Topic.title).order_by(Topic.id))

    assert await walled.command(write, NOBODY) == ["soup", "fish"]


async def test_one_call_after_the_other_is_told_apart(walled: Store) -> None:
    async def read(db: Any) -> Any:
        return sorted(await db.all(int, select(Note.id)))

    for _ in range(3):
        assert await walled.query(read, ANA) == [1, 3, 4, 5]
        assert await walled.query(read, NOBODY) == []
        assert await walled.command(read, EVA) == [6, 8]
        assert await walled.query(read, BEN) == [2, 3, 4]


async def test_behind_the_compiler_the_wall_is_not_noticed(both: Store, raw: Store) -> None:
    """What the guarded compiler makes of statements goes through the database's own wall."""

    async def work(db: Any) -> Any:
        await db.execute(insert(Note).values(id=90, text="mine", author="ana"))
        await db.execute(insert(Note), [{"id": n, "text": "many", "author": "ana"} for n in (91, 92)])
        await db.execute(update(Note).where(Note.id == 91).values(text="changed"))
        await db.execute(delete(Note).where(Note.id == 92))
        await db.execute(insert(Diary).values(id=9, page="of 90", note_id=90))
        added = await db.scalar(insert(Note).values(id=93, text="told", author="ana").returning(Note.tenant))
        return added, sorted(await db.all(int, select(Note.id))), await db.all(str, select(Diary.page))

    assert await both.command(work, ANA) == ("north", [1, 3, 4, 5, 90, 91, 93], ["dear", "of 90"])
    assert len((await everything(raw))["note"]) == 11
    for statement in (update(Note).where(Note.id == 3).values(text="x"), insert(Ledger).values(id=3, amount=1)):
        with pytest.raises(Forbidden):
            await both.command(lambda db, it=statement: db.execute(it), ANA)


@pytest.mark.parametrize("vault_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("condition", [cast(Note.text, Integer) == 1, 1 / Note.level > 0], ids=["a cast", "by zero"])
async def test_a_condition_that_fails_for_a_foreign_row_tells_nothing_of_it(both: Store, condition: Any) -> None:
    """Nobody but PostgreSQL itself can have the rule asked first: the compiler's words stand beside the condition."""
    foreign = select(Note.id).where(Note.id == 2, condition)
    own = select(Note.id).where(Note.id == 1, condition)

    assert await both.query(lambda db: db.all(int, foreign), ANA) == []
    with pytest.raises(Invalid):
        await both.query(lambda db: db.all(int, own), ANA)
