"""Idempotency keys: one effect and one answer a key, on both databases and whatever way the call comes in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pydantic
import pytest
from sqlalchemy import MetaData, func, insert, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from toque import AllRows, App, Conflict, Database, File, Principal, Struct, authenticated, public
from toque.contract.complaints import SetupError
from toque.contract.errors import BadRequest, Error, InProgress, KeyReused
from toque.store import replies
from toque.store.models import NAMES, Conventions
from toque.testing import Harness, running


class Base(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class Order(Base, shared=True):
    id: Mapped[int] = mapped_column(primary_key=True)
    table_no: Mapped[int]


class NewOrder(Struct):
    table_no: int
    wishes: dict[str, str] = {}


class OrderView(Struct, rename="camel"):
    id: int
    table_no: int


class Secretive(OrderView):
    secret: str = "never to leave"


@dataclass
class Receipt:
    id: UUID
    at: datetime
    total: Decimal
    tags: frozenset[str]
    by_dish: dict[int, int]


class Card(pydantic.BaseModel):
    holder: str
    valid: datetime


class Parcel(pydantic.BaseModel, extra="forbid"):
    """What leaves of it has a name that it does not read, and one that it computes."""

    weight: int = pydantic.Field(serialization_alias="grams")

    @pydantic.computed_field
    def is_heavy(self) -> bool:
        return self.weight > 1000


class Login(pydantic.BaseModel):
    name: str
    password: pydantic.SecretStr
    attempt: int = pydantic.Field(1, exclude=True)


PARCEL = Parcel(weight=2000)
RECEIPT = Receipt(uuid4(), datetime.now(UTC), Decimal("9.50"), frozenset({"a"}), {1: 2})
CARD = Card(holder="ana", valid=datetime.now(UTC))
ANA = Principal(subject="ana")
BO = Principal(subject="bo")

app = App("keys", metadata=Base.metadata)
gate = asyncio.Event()
entered = asyncio.Event()


@app.command("/orders", allow=public, status=201, location="/orders/{id}", is_idempotent=True)
async def place(new: NewOrder, db: Database) -> OrderView:
    made = insert(Order).values(table_no=new.table_no).returning(Order)
    view = await db.one(OrderView, made)
    return Secretive(view.id, view.table_no)


@app.command("/slow", allow=authenticated, is_idempotent=True)
async def slow(table_no: int, db: Database) -> int:
    entered.set()
    await gate.wait()
    await db.execute(insert(Order).values(table_no=table_no))
    return table_no


@app.command("/fail", allow=public, is_idempotent=True)
async def fail(db: Database) -> int:
    await db.execute(insert(Order).values(table_no=0))
    if await db.scalar(select(func.count()).select_from(Order)) < 3:
        raise Conflict("not yet")
    return 1


@app.command("/strict", allow=public, is_idempotent=True, isolation="serializable")
async def strict(db: Database) -> int:
    count: int = await db.scalar(select(func.count()).select_from(Order))
    await db.execute(insert(Order).values(table_no=count))
    return count


@app.command("/receipt", allow=public, is_idempotent=True)
async def receipt() -> Receipt:
    return RECEIPT


@app.command("/card", allow=public, is_idempotent=True)
async def card() -> Card:
    return CARD


@app.command("/parcel", allow=public, is_idempotent=True)
async def parcel() -> Parcel:
    return PARCEL


@app.command("/login", allow=public, is_idempotent=True)
async def login(form: Login) -> str:
    return f"token of {form.name}"


@app.command("/bytes", allow=public, is_idempotent=True, media_type="application/pdf")
async def picture() -> bytes:
    return b"%PDF"


@app.command("/nothing", allow=public, is_idempotent=True)
async def nothing(db: Database) -> None:
    await db.execute(insert(Order).values(table_no=7))


class Odd(Struct):
    """What MessagePack, in which answers are kept, has no form for."""

    number: int
    by_number: dict[int, str] = {}
    at: datetime = datetime(1, 1, 1, tzinfo=UTC)
    weight: float = 0.0


@app.command("/odd", allow=public, is_idempotent=True)
async def odd(body: Odd) -> Odd:
    return body


@app.command("/plain", allow=public)
async def plain(db: Database) -> int:
    return await db.execute(insert(Order).values(table_no=7))


@app.query("/orders", allow=public)
async def count_orders(db: Database) -> int:
    return await db.scalar(select(func.count()).select_from(Order))  # type: ignore[no-any-return]


@pytest.fixture
async def keys(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Harness]:
    global gate, entered
    gate, entered = asyncio.Event(), asyncio.Event()
    # A slow machine is no reason for an answer to be another one.
    monkeypatch.setattr(replies, "WAIT_S", 30.0)
    async with running(app, database_url=database_url) as harness:
        yield harness


def order(key: str | None = "k1", table_no: int = 4) -> dict[str, Any]:
    return {"json": {"table_no": table_no}, "headers": {} if key is None else {"idempotency-key": key}}


async def count(keys: Harness) -> int:
    return await keys.call("keys.count_orders")  # type: ignore[no-any-return]


async def test_a_second_try_changes_nothing_and_hears_the_same(keys: Harness) -> None:
    first = await keys.post("/orders", **order())
    again = await keys.post("/orders", **order())

    assert (first.status, first.json()) == (201, {"id": 1, "tableNo": 4})
    assert (again.status, again.content) == (first.status, first.content)
    assert again.headers["location"] == first.headers["location"] == "/orders/1"
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert await count(keys) == 1


async def test_without_a_key_each_call_is_its_own(keys: Harness) -> None:
    answers = [await keys.post("/orders", **order(None)) for _ in range(2)]

    assert [answer.json()["id"] for answer in answers] == [1, 2]


async def test_another_key_is_another_call(keys: Harness) -> None:
    answers = [await keys.post("/orders", **order(key)) for key in ("a", "b", "A", '"c"', "c")]

    # In quotes or without, it is the same key (RFC 9651, 3.3.3).
    assert [answer.json()["id"] for answer in answers] == [1, 2, 3, 4, 4]


async def test_other_inputs_under_the_same_key_are_refused(keys: Harness) -> None:
    await keys.post("/orders", **order(table_no=4))
    other = await keys.post("/orders", **order(table_no=5))

    assert (other.status, other.json()["code"]) == (422, "key_reused")
    assert await count(keys) == 1


@pytest.mark.parametrize("other", [{"password": "guessed"}, {"attempt": 2}])
async def test_inputs_are_told_apart_by_what_never_leaves(keys: Harness, other: dict[str, Any]) -> None:
    # A secret is `**********` on its way out, so whoever guessed the key had the answer without the password.
    form = {"name": "ana", "password": "hunter2"}
    answers = [await keys.call("keys.login", form=form, idempotency_key="k1") for _ in range(2)]

    assert answers == ["token of ana"] * 2
    with pytest.raises(KeyReused):
        await keys.call("keys.login", form={**form, **other}, idempotency_key="k1")


async def test_inputs_are_compared_whatever_their_format_and_order(keys: Harness) -> None:
    wishes = {"salt": "none", "spoon": "big"}
    first = await keys.post("/orders", **{**order(), "json": {"table_no": 4, "wishes": wishes}})
    packed = msgspec.msgpack.encode({"wishes": dict(reversed(wishes.items())), "table_no": 4})
    headers = {"idempotency-key": "k1", "content-type": "application/msgpack", "accept": "application/msgpack"}
    again = await keys.post("/orders", content=packed, headers=headers)

    assert msgspec.msgpack.decode(again.content) == first.json()
    assert await count(keys) == 1


async def test_a_key_is_its_callers_own_and_its_operations(keys: Harness) -> None:
    for principal in (None, ANA, BO, Principal(subject="ana", tenant="other")):
        assert (await keys.post("/orders", principal=principal, **order())).status == 201
    assert await keys.call("keys.strict", idempotency_key="k1") == 4
    assert await count(keys) == 5

    replayed = await keys.post("/orders", principal=ANA, **order())
    assert replayed.json()["id"] == 2


async def test_a_token_that_does_not_hold_is_refused_where_a_key_is_its_callers_own(keys: Harness) -> None:
    headers = {"idempotency-key": "k1", "authorization": "Bearer nonsense"}

    assert (await keys.post("/orders", json={"table_no": 4}, headers=headers)).status == 401


async def test_an_error_is_not_kept_and_leaves_nothing(keys: Harness) -> None:
    key = {"idempotency-key": "k1"}
    assert (await keys.post("/fail", headers=key)).status == 409
    assert await count(keys) == 0
    for _ in range(2):
        await keys.call("keys.plain")

    assert (await keys.post("/fail", headers=key)).json() == 1
    assert (await keys.post("/fail", headers=key)).headers["idempotency-replayed"] == "true"
    assert await count(keys) == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [("receipt", RECEIPT), ("card", CARD), ("parcel", PARCEL), ("picture", b"%PDF"), ("nothing", None)],
)
async def test_every_kind_of_answer_comes_back_as_it_was(keys: Harness, name: str, expected: Any) -> None:
    answers = [await keys.call(f"keys.{name}", idempotency_key="k1") for _ in range(2)]

    assert answers == [expected, expected]
    assert type(answers[1]) is type(expected)


@pytest.mark.parametrize(
    "value",
    [
        Odd(10**30),
        Odd(-(2**63) - 1),
        Odd(1, {2: "b", 1: "a"}),
        Odd(1, at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))),
        Odd(1, at=datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))),
        Odd(1, weight=float("inf")),
    ],
)
async def test_what_messagepack_has_no_form_for_comes_back_as_it_was(keys: Harness, value: Odd) -> None:
    """Such inputs were "The app failed" wherever a key was given; and a time came back in another zone."""
    answers = [await keys.call("keys.odd", body=value, idempotency_key="k1") for _ in range(2)]

    assert answers == [value, value]
    assert answers[1].at.isoformat() == value.at.isoformat()
    with pytest.raises(KeyReused):
        await keys.call("keys.odd", body=Odd(value.number, {2: "c"}), idempotency_key="k1")


async def test_what_is_kept_is_what_was_declared(keys: Harness) -> None:
    await keys.post("/orders", **order())

    kept = await keys.serving.system.store.query(  # type: ignore[union-attr]
        lambda db: AllRows.of(db).scalar(text(f"SELECT answer FROM {replies.TABLE}"))
    )
    assert msgspec.msgpack.decode(kept) == {"id": 1, "tableNo": 4}


async def test_two_that_come_at_once_have_one_effect(keys: Harness) -> None:
    calls = [
        asyncio.create_task(keys.call("keys.slow", principal=ANA, idempotency_key="k1", table_no=4)) for _ in range(3)
    ]
    await entered.wait()
    gate.set()

    assert await asyncio.gather(*calls) == [4, 4, 4]
    assert await count(keys) == 1


async def test_whoever_waits_too_long_hears_that_it_is_under_way(
    keys: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = keys.serving.system.store
    assert store is not None
    if store.dialect_name == "sqlite":
        pytest.skip("SQLite's commands wait for their turn, with a key or without")
    monkeypatch.setattr(replies, "WAIT_S", 0.0)
    first = asyncio.create_task(keys.call("keys.slow", principal=ANA, idempotency_key="k1", table_no=4))
    await entered.wait()

    with pytest.raises(InProgress) as caught:
        await keys.call("keys.slow", principal=ANA, idempotency_key="k1", table_no=4)
    gate.set()

    assert caught.value.retry_after_s == 1
    assert caught.value.problem().status == 409
    assert await first == 4


async def test_a_cancelled_call_gives_its_key_back(keys: Harness) -> None:
    first = asyncio.create_task(keys.call("keys.slow", principal=ANA, idempotency_key="k1", table_no=4))
    await entered.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    gate.set()

    assert await keys.call("keys.slow", principal=ANA, idempotency_key="k1", table_no=5) == 5
    assert await count(keys) == 1


async def test_keys_and_serialisable_commands_go_together(keys: Harness) -> None:
    calls = [keys.call("keys.strict", idempotency_key=f"k{i % 6}") for i in range(18)]

    answers = await asyncio.gather(*calls)

    assert sorted(set(answers)) == [0, 1, 2, 3, 4, 5]
    assert len({(i % 6, answer) for i, answer in enumerate(answers)}) == 6
    assert await count(keys) == 6


@pytest.mark.parametrize("key", ["", " ", '""', "x" * 256, "ä", "a\x00b"])
async def test_what_is_no_key_is_refused(keys: Harness, key: str) -> None:
    refused = await keys.post("/orders", **order(key))

    assert (refused.status, refused.json()["code"]) == (400, "bad_request")
    assert await count(keys) == 0


async def test_a_command_that_keeps_no_answers_refuses_keys_and_a_query_ignores_them(keys: Harness) -> None:
    refused = await keys.post("/plain", headers={"idempotency-key": "k1"})
    with pytest.raises(BadRequest, match=r"keeps no answers.*call it without one"):
        await keys.call("keys.plain", idempotency_key="k1")

    assert (refused.status, refused.json()["code"]) == (400, "bad_request")
    assert (await keys.get("/orders", headers={"idempotency-key": "k1"})).json() == 0
    assert await keys.call("keys.count_orders", idempotency_key="k1") == 0


async def test_json_rpc_carries_a_key_in_each_call(keys: Harness) -> None:
    def call(key: Any, table_no: int = 4) -> dict[str, Any]:
        params = {"new": {"table_no": table_no}}
        return {"jsonrpc": "2.0", "id": 1, "method": "keys.place", "params": params, "idempotency_key": key}

    results = [(await keys.post("/rpc", json=call("k1"))).json()["result"] for _ in range(2)]
    batch = (await keys.post("/rpc", json=[call("k1"), call("k2"), call("k1", 9), call(7)])).json()
    header = await keys.post("/rpc", json=call("k1"), headers={"idempotency-key": "k1"})

    assert results[0] == results[1] == {"id": 1, "tableNo": 4}
    assert sorted(answer["error"]["data"]["code"] for answer in batch if "error" in answer) == [
        "bad_request",
        "key_reused",
    ]
    assert (header.status, header.json()["code"]) == (400, "bad_request")
    assert await count(keys) == 2


async def test_old_answers_are_deleted_in_small_steps(keys: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "KEPT_S", -60)
    store = keys.serving.system.store
    assert store is not None
    sweeper = replies.Replies(store)
    monkeypatch.setattr(replies, "SWEEP_EVERY_S", 0.0)
    many = [(f"{i}".encode(), b"", None, i) for i in range(replies.SWEEP_ROWS + 20)]

    async def fill(db: Any) -> None:
        statement = text(f"INSERT INTO {replies.TABLE} (id, request, made_at) VALUES (:id, :request, :made_at)")
        rows = [{"id": id, "request": request, "made_at": made_at} for id, request, _, made_at in many]
        await AllRows.of(db).execute(statement, rows)

    await store.command(fill)

    assert [await sweeper.sweep() for _ in range(3)] == [replies.SWEEP_ROWS, 20, 0]

    await store.command(fill)
    for i in range(5):
        await keys.post("/orders", **order(f"k{i}"))
    left = await store.query(lambda db: AllRows.of(db).scalar(text(f"SELECT count(*) FROM {replies.TABLE}")))
    assert left < 5


async def test_answers_that_must_be_kept_are_not_deleted(keys: Harness) -> None:
    await keys.post("/orders", **order())
    store = keys.serving.system.store
    assert store is not None

    assert await replies.Replies(store).sweep() == 0
    assert (await keys.post("/orders", **order())).headers["idempotency-replayed"] == "true"


def test_what_cannot_be_kept_is_refused_at_start() -> None:
    wrong = App("wrong_keys", metadata=MetaData())

    @wrong.command("/a", allow=public, is_idempotent=True)
    async def a() -> AsyncIterator[int]:
        yield 1

    @wrong.command("/b", allow=public, isolation="serialisable")  # type: ignore[arg-type]
    async def b(db: Database) -> None: ...

    @wrong.query("/c", allow=public, isolation="read committed")
    async def c(db: Database) -> int:
        return 1

    @wrong.command("/d", allow=public, isolation="serializable")
    async def d() -> None: ...

    @wrong.command("/e", allow=public, is_idempotent=True)
    async def e(file: File) -> None: ...

    with pytest.raises(SetupError) as caught:
        wrong.serve()

    said = str(caught.value)
    for words in (
        "keeps one answer",
        "takes a file",
        "did you mean 'serializable'?",
        "a query reads one state",
        "asks for no Database",
    ):
        assert words in said


async def test_the_openapi_document_tells_of_the_key(keys: Harness) -> None:
    document = json.loads(keys.serving.document("openapi"))
    with_key = {
        path
        for path, methods in document["paths"].items()
        for method in methods.values()
        if any(parameter["name"] == "Idempotency-Key" for parameter in method["parameters"])
    }

    assert "/orders" in with_key
    assert "/plain" not in with_key


async def test_a_reused_key_says_so_in_memory_too(keys: Harness) -> None:
    await keys.call("keys.place", idempotency_key="k1", new=NewOrder(4))

    with pytest.raises(KeyReused):
        await keys.call("keys.place", idempotency_key="k1", new=NewOrder(5))
    with pytest.raises(Error):
        await keys.call("keys.place", idempotency_key="", new=NewOrder(5))


async def test_the_change_and_the_kept_answer_stand_or_fall_together(keys: Harness) -> None:
    """Whatever a state says, there is an answer for each order and an order for each answer."""
    await asyncio.gather(*(keys.post("/orders", **order(f"k{i % 7}")) for i in range(40)))
    store = keys.serving.system.store
    assert store is not None

    async def both(db: Any) -> tuple[int, int]:
        kept = text(f"SELECT count(*) FROM {replies.TABLE} WHERE answer IS NOT NULL")
        return await AllRows.of(db).scalar(kept), await db.scalar(select(func.count()).select_from(Order))

    assert await store.query(both) == (7, 7)
    await store.command(lambda db: db.execute(update(Order).values(table_no=0)))
