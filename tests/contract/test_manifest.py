"""The manifest: everything that is offered, in one order; and what a new one breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from toque.contract.access import Access, authenticated, public, role, scope
from toque.contract.changes import breaking_changes
from toque.contract.errors import Error
from toque.contract.manifest import Manifest, Offered, OperationEntry, manifest
from toque.contract.module import Module
from toque.contract.operation import Header
from toque.contract.signature import read_signature


class SoldOut(Error, code="sold_out_here", http=409, title="The dish is sold out"): ...


class Line(Struct):
    dish_id: int
    quantity: Annotated[int, Meta(ge=1)] = 1


class NewOrder(Struct):
    table: Annotated[int, Meta(ge=1, le=40, description="Its number.")]
    items: list[Line]


class OrderView(Struct):
    id: int
    items: list[Line]
    note: str | None = None


def describe(module: Module, version: str = "1") -> Manifest:
    offered = [
        Offered(
            operation=operation,
            signature=read_signature(operation, frozenset()),
            takes=("application/json",),
            gives=("application/json", "application/msgpack"),
            deadline_s=operation.deadline_s or 10.0,
            body_bytes_max=operation.body_bytes_max or 1024,
            reads_credential=operation.allow is not None and operation.allow.needs_principal,
        )
        for operation in module.operations
    ]
    return manifest("bistro", version, "A bistro.", offered)


def only(module: Module) -> OperationEntry:
    (entry,) = describe(module).operations
    return entry


def orders() -> Module:
    module = Module("orders")

    @module.command("/orders", allow=role("waiter", "boss"), status=201, location="/orders/{id}", errors=[SoldOut])
    async def place(new: NewOrder) -> OrderView:
        """Place an order.

        The kitchen hears of it.
        """
        raise NotImplementedError

    return module


def test_an_operation_is_described_in_full() -> None:
    entry = only(orders())

    assert (entry.name, entry.kind) == ("orders.place", "command")
    assert (entry.summary, entry.description) == ("Place an order", "The kitchen hears of it.")
    assert (entry.method, entry.path, entry.status, entry.location) == (
        "POST",
        "/orders",
        201,
        "/orders/{id}",
    )
    assert (entry.access.words, entry.access.roles) == ("role waiter or boss", ("boss", "waiter"))
    assert (entry.deadline_s, entry.body_bytes_max) == (10.0, 1024)
    assert (entry.takes, entry.gives) == (("application/json",), ("application/json", "application/msgpack"))
    (new,) = entry.inputs
    assert (new.name, new.place, new.is_required) == ("new", "body", True)
    assert new.schema == {"$ref": "#/components/schemas/NewOrder"}
    assert entry.output is not None
    assert entry.output.schema == {"$ref": "#/components/schemas/OrderView"}


def test_the_failures_are_those_declared_and_those_that_every_such_call_can_have() -> None:
    codes = {error.code: error.http for error in only(orders()).errors}

    assert codes["sold_out_here"] == 409
    assert {
        "malformed",
        "invalid",
        "too_large",
        "unauthenticated",
        "forbidden",
        "deadline_exceeded",
    } <= codes.keys()


def test_what_takes_nothing_from_anybody_fails_in_fewer_ways() -> None:
    module = Module("m")

    @module.query("/hello", allow=public)
    async def hello() -> str:
        return "hello"

    codes = {error.code for error in only(module).errors}

    assert codes.isdisjoint({"invalid", "malformed", "unauthenticated", "forbidden", "conflict", "not_found"})


def test_every_input_says_where_it_is_found_and_what_it_is_without_being_given() -> None:
    module = Module("m")

    @module.query("/dishes/{id}", allow=public)
    async def dish(
        id: int, course: Literal["main"] | None = None, station: Annotated[str, Header("X-Station")] = "hot"
    ) -> str:
        return "hello"

    found = {one.name: one for one in only(module).inputs}

    assert [(one.place, one.wire_name) for one in found.values()] == [
        ("path", "id"), ("query", "course"), ("header", "x-station"),
    ]  # fmt: skip
    assert found["id"].is_required
    assert found["station"].default == "hot"


def test_streams_bytes_and_nothing_are_told_apart() -> None:
    module = Module("m")

    @module.query("/a", allow=public)
    async def a() -> AsyncIterator[Line]:
        yield Line(1)

    @module.query("/b", allow=public, media_type="image/png")
    async def b() -> bytes:
        return b""

    @module.command("/c", allow=public)
    async def c(content: AsyncIterator[bytes]) -> None: ...

    a_entry, b_entry, c_entry = describe(module).operations

    assert a_entry.output is not None
    assert (a_entry.output.is_stream, a_entry.output.schema) == (True, {"$ref": "#/components/schemas/Line"})
    assert b_entry.output is not None
    assert b_entry.output.is_binary
    assert (c_entry.output, c_entry.status) == (None, 204)
    assert c_entry.inputs[0].place == "upload"


def test_the_manifest_is_plain_data_and_the_same_in_whatever_order_it_was_declared() -> None:
    one, other = Module("m"), Module("m")

    async def first() -> Line:
        return Line(1)

    async def second(new: NewOrder) -> OrderView:
        return OrderView(1, [])

    for module, functions in ((one, (first, second)), (other, (second, first))):
        for function in functions:
            module.command(f"/{function.__name__}", allow=public)(function)
    as_bytes = msgspec.json.encode(describe(one))

    assert as_bytes == msgspec.json.encode(describe(other))
    assert msgspec.json.decode(as_bytes, type=Manifest) == describe(one)


def test_every_reference_leads_to_a_schema() -> None:
    described = describe(orders())
    text = msgspec.json.encode(described).decode()
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}

    assert names <= described.schemas.keys()
    assert {"Problem", "Fault", "NewOrder", "Line"} <= names


# What breaks.


def offering(
    function: Callable[..., Any] | None = None,
    *,
    allow: Access = public,
    kind: str = "command",
    path: str = "/x",
    **options: Any,
) -> Manifest:
    module = Module("m")
    if function is not None:
        getattr(module, kind)(path, allow=allow, name="x", **options)(function)
    return describe(module)


def taking(tp: Any) -> Manifest:
    async def x(value) -> None: ...  # type: ignore[no-untyped-def]

    x.__annotations__ = {"value": tp, "return": None}
    return offering(x)


def giving(tp: Any) -> Manifest:
    async def x() -> None: ...

    x.__annotations__ = {"return": tp}
    return offering(x)


def struct(**fields: Any) -> type[Struct]:
    pairs = [(name, *tp) if isinstance(tp, tuple) else (name, tp) for name, tp in fields.items()]
    return msgspec.defstruct("Value", pairs, kw_only=True)


async def nothing() -> None: ...


def test_the_same_app_breaks_nothing() -> None:
    assert breaking_changes(describe(orders()), describe(orders(), version="2")) == []


def test_a_new_operation_breaks_nothing_and_a_removed_one_does() -> None:
    assert breaking_changes(offering(), offering(nothing)) == []
    assert breaking_changes(offering(nothing), offering()) == ["m.x is gone"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "/y"}, "m.x: it is at POST /y, and was at POST /x"),
        ({"method": "PUT"}, "m.x: it is at PUT /x, and was at POST /x"),
        ({"status": 202}, "m.x: it answers 202, and answered 204"),
        ({"deadline_s": 1.0}, "m.x: its deadline is 1 s, and was 10 s"),
    ],
)
def test_another_address_status_or_shorter_deadline_breaks(options: dict[str, Any], said: str) -> None:
    assert breaking_changes(offering(nothing), offering(nothing, **options)) == [said]


def test_a_command_that_takes_no_idempotency_key_any_more_breaks() -> None:
    plain, keyed = offering(nothing), offering(nothing, is_idempotent=True)

    assert breaking_changes(keyed, plain) == ["m.x: it takes no idempotency key any more"]
    assert breaking_changes(plain, keyed) == []


@pytest.mark.parametrize(
    ("old", "new", "breaks"),
    [
        (public, authenticated, True),
        (authenticated, public, False),
        (role("cook"), authenticated, False),
        (role("cook"), role("cook", "waiter"), False),
        (role("cook", "waiter"), role("cook"), True),
        (role("cook"), scope("orders"), True),
        (role("cook"), role("cook") & scope("orders"), True),
        (authenticated, role("cook"), True),
    ],
)
def test_a_stricter_rule_breaks_and_a_wider_one_does_not(old: Access, new: Access, breaks: bool) -> None:
    found = breaking_changes(offering(nothing, allow=old), offering(nothing, allow=new))

    assert bool(found) is breaks


INPUTS = [
    ("a new required field", struct(a=int), struct(a=int, b=int), "input value.b is new and required"),
    ("a new optional field", struct(a=int), struct(a=int, b=(int, 1)), None),
    ("a field that is required now", struct(a=(int, 1)), struct(a=int), "input value.a is required"),
    ("a field that is optional now", struct(a=int), struct(a=(int, 1)), None),
    ("a field that is gone", struct(a=int, b=(int, 1)), struct(a=int), "input value.b is gone"),
    ("a narrower type", struct(a=float), struct(a=int), "input value.a is integer, and was number"),
    ("a wider type", struct(a=int), struct(a=float), None),
    ("null no longer taken", struct(a=int | None), struct(a=int), "input value.a no longer takes null"),
    ("null taken", struct(a=int), struct(a=int | None), None),
    ("fewer choices", Literal["a", "b"], Literal["a"], "input value is one of a, and was one of a, b"),
    ("more choices", Literal["a"], Literal["a", "b"], None),
    ("a tighter bound", int, Annotated[int, Meta(le=9)],
     "input value is maximum 9, and was maximum unbounded"),
    ("a looser bound", Annotated[int, Meta(le=9)], Annotated[int, Meta(le=10)], None),
    ("deep in a list", list[struct(a=str)], list[struct(a=int)],
     "input value[].a is integer, and was string"),
    ("deep in a dict", dict[str, str], dict[str, int], "input value.* is integer, and was string"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), [case[1:] for case in INPUTS], ids=[case[0] for case in INPUTS])
def test_an_input_may_grow_wider_and_never_narrower(old: Any, new: Any, said: str | None) -> None:
    assert breaking_changes(taking(old), taking(new)) == ([f"m.x: {said}"] if said else [])


OUTPUTS = [
    ("a field that is gone", struct(a=int, b=int), struct(a=int), "output.b is gone"),
    ("an optional field that is gone", struct(a=int, b=(int, 1)), struct(a=int), "output.b is gone"),
    ("a new field", struct(a=int), struct(a=int, b=int), None),
    ("a field that may be missing", struct(a=int), struct(a=(int, 1)),
     "output.a may be missing, and was not"),
    ("a wider type", struct(a=int), struct(a=float), "output.a is number, and was integer"),
    ("a narrower type", struct(a=float), struct(a=int), None),
    ("null given", struct(a=int), struct(a=int | None), "output.a may be null, and never was"),
    ("more choices", Literal["a"], Literal["a", "b"], "output is one of a, b, and was one of a"),
    ("fewer choices", Literal["a", "b"], Literal["a"], None),
    ("nothing any more", int, None, "it no longer answers anything"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), [case[1:] for case in OUTPUTS], ids=[case[0] for case in OUTPUTS])
def test_an_output_may_grow_narrower_and_never_wider(old: Any, new: Any, said: str | None) -> None:
    found = [one for one in breaking_changes(giving(old), giving(new)) if "answers 204" not in one]

    assert found == ([f"m.x: {said}"] if said else [])


@dataclass
class Tree:
    children: list[Tree]
    name: str = ""


def test_a_type_that_holds_itself_is_compared_to_its_end() -> None:
    assert breaking_changes(giving(Tree), giving(Tree)) == []


def test_an_input_that_was_optional_is_missed_when_it_is_required() -> None:
    async def before(a: int = 1) -> None: ...

    async def after(a: int, b: int) -> None: ...

    assert breaking_changes(offering(before), offering(after)) == [
        "m.x: input b is new and required",
        "m.x: input a is required, and was not",
    ]


def test_an_input_in_another_place_breaks_http() -> None:
    async def before(a: int) -> None: ...

    async def after(a: Annotated[int, Header("x-a")]) -> None: ...

    assert breaking_changes(offering(before), offering(after)) == [
        "m.x: input a is 'x-a' in the header, and was 'a' in the member"
    ]


def test_a_format_that_is_no_longer_given_breaks() -> None:
    module = Module("m")
    module.query("/x", allow=public, name="x")(nothing)
    old = describe(module)
    entry = msgspec.structs.replace(old.operations[0], gives=("application/json",))
    new = msgspec.structs.replace(old, operations=(entry,))

    assert breaking_changes(old, new) == ["m.x: it no longer answers in application/msgpack"]
