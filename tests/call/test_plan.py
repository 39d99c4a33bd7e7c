"""The plan: policies in one fixed order, none that is not used, and inputs by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from sqlalchemy import MetaData

from toque.app import App
from toque.call.context import Context
from toque.call.plan import ORDER, Plan, Stage, compile_plan
from toque.call.receive import Pending
from toque.call.resources import Pantry
from toque.call.threads import Threads
from toque.contract.access import authenticated, predicate, public, role
from toque.contract.errors import Error, Forbidden, Invalid, Overloaded, Unauthenticated
from toque.contract.operation import Header, InQuery
from toque.contract.principal import Principal
from toque.settings import Secret, Settings
from toque.settings.tree import Calls, Observe
from toque.settings.tree import Database as DatabaseSettings
from toque.store.database import Database

ALWAYS = ("observe, admit",)


class NewOrder(msgspec.Struct):
    table: int


def nothing() -> None: ...


async def ask_nobody() -> int: ...


async def ask_who(caller: Principal) -> int: ...


async def ask_all(context: Context) -> int: ...


async def look(id: int, station: Annotated[str, Header("x-station")] = "") -> int: ...


async def read(db: Database) -> int: ...


async def write(new: NewOrder) -> None: ...


async def keep(new: NewOrder, db: Database) -> None: ...


async def upload(content: AsyncIterator[bytes]) -> None: ...


async def flag(done: Annotated[bool, InQuery()]) -> None: ...


def plan_of(function: Any, kind: str, access: Any, tmp_path: Path, *, traces: bool = False) -> Plan:
    # Tables of its own: rules of whatever models this process has loaded would ask who is calling.
    app = App("kitchen", metadata=MetaData())
    getattr(app, kind)(f"/{function.__name__}", allow=access)(function)
    settings = Settings(
        database=DatabaseSettings(url=Secret(f"sqlite:///{tmp_path / 'test.db'}")),
        observe=Observe(traces=traces),
    )
    return app.serve(settings).system.plans[f"kitchen.{function.__name__}"]


@pytest.mark.parametrize(
    ("function", "kind", "access", "stages"),
    [
        (nothing, "command", public, ()),
        (ask_nobody, "query", public, ()),
        (look, "query", public, ()),
        (flag, "command", public, ()),
        (ask_who, "query", public, ("authenticate",)),
        (ask_all, "query", public, ("authenticate",)),
        (ask_nobody, "query", authenticated, ("authenticate", "authorise")),
        (ask_nobody, "query", role("cook") | public, ()),
        (read, "query", public, ("cache", "room", "watch", "transact")),
        (write, "command", public, ("receive",)),
        (upload, "command", public, ("receive",)),
        (keep, "command", role("cook"), ("authenticate", "authorise", "room", "receive", "watch", "transact")),
        (
            keep,
            "command",
            predicate(lambda principal, new: True),
            ("authenticate", "receive for the rule", "authorise", "room", "watch", "transact"),
        ),
    ],
)
def test_what_an_operation_does_not_use_is_not_in_its_plan(
    function: Any, kind: str, access: Any, stages: tuple[str, ...], tmp_path: Path
) -> None:
    plan = plan_of(function, kind, access, tmp_path)

    assert tuple(stage.name for stage in plan.stages) == (*ALWAYS, *stages)
    assert all(stage.why for stage in plan.stages)
    assert plan.reads_credential == ("authenticate" in stages)


def test_spans_are_made_only_where_settings_ask_for_them(tmp_path: Path) -> None:
    assert [stage.name for stage in plan_of(ask_nobody, "query", public, tmp_path, traces=True).stages] == [
        "trace",
        "observe, admit",
    ]


async def test_policies_run_in_their_fixed_order_however_they_were_given() -> None:
    ran: list[str] = []

    def stage(name: str) -> Stage:
        def wrap(call: Any) -> Any:
            async def run(context: Context, arguments: Any) -> Any:
                ran.append(name)
                return await call(context, arguments)

            return run

        return Stage(name, "the test wants it", wrap)

    app = App("kitchen", settings=Settings())
    app.query(allow=public)(ask_nobody)
    known = app.serving.system.plans["kitchen.ask_nobody"]
    plan = compile_plan(
        known.operation,
        known.signature,
        [stage(name) for name in reversed(ORDER)],
        Pantry({}),
        Threads(1, 0),
        shape=None,
        deadline_s=1,
        reads_credential=True,
    )
    await plan.call(Context.within("kitchen.ask_nobody", 1), ())

    assert tuple(ran) == ORDER
    assert tuple(stage.name for stage in plan.stages) == ORDER


# The order as a caller sees it: who is refused early costs what comes late nothing.


def kitchen(ran: list[str], *, in_flight_max: int = 10, only: Any = None) -> App:
    app = App("kitchen", settings=Settings(calls=Calls(in_flight_max=in_flight_max)))

    @app.resource(lifetime="call")
    def tool() -> Pantry:
        ran.append("resource")
        return Pantry({})

    @app.command("/keep", allow=only or role("cook"))
    async def keep(new: NewOrder, tool: Pantry) -> None:
        ran.append("function")

    return app


def arriving(ran: list[str], value: Any) -> Pending:
    async def read_body() -> Any:
        ran.append("body")
        if isinstance(value, Error):
            raise value
        return value

    return Pending(read_body)


def context(*roles: str, subject: str = "ana", credential: str | None = None) -> Context:
    principal = Principal(subject=subject, roles=frozenset(roles)) if subject else None
    made = Context.within("kitchen.keep", 10, principal)
    made.credential = credential
    return made


async def test_who_may_call_has_the_body_read_then_the_resources_made_then_the_function_run() -> None:
    ran: list[str] = []
    plan = kitchen(ran).serving.system.plans["kitchen.keep"]

    await plan.call(context("cook"), arriving(ran, (NewOrder(1),)))

    assert ran == ["body", "resource", "function"]


@pytest.mark.parametrize(
    ("roles", "subject", "credential", "error"),
    [
        (["waiter"], "ana", None, Forbidden),
        ([], "", None, Unauthenticated),
        ([], "", "Bearer nonsense", Unauthenticated),
    ],
)
async def test_who_may_not_call_has_no_body_read(
    roles: list[str], subject: str, credential: str | None, error: type[Error]
) -> None:
    who = context(*roles, subject=subject, credential=credential)
    ran: list[str] = []
    app = kitchen(ran)

    with pytest.raises(error):
        await app.serving.system.plans["kitchen.keep"].call(who, arriving(ran, (NewOrder(1),)))

    assert ran == []
    assert app.serving.system.figures["kitchen.keep"].codes[error.code] == 1, "refusals are counted"


async def test_a_rule_about_the_body_has_it_read_and_still_runs_before_resources() -> None:
    ran: list[str] = []
    app = kitchen(ran, only=predicate(lambda principal, new: new.table == 4))
    call = app.serving.system.plans["kitchen.keep"].call

    with pytest.raises(Forbidden):
        await call(context(), arriving(ran, (NewOrder(1),)))
    assert ran == ["body"]

    await call(context(), arriving(ran, (NewOrder(4),)))
    assert ran == ["body", "body", "resource", "function"]


async def test_a_wrong_body_is_refused_before_resources_are_made() -> None:
    ran: list[str] = []

    with pytest.raises(Invalid):
        await kitchen(ran).serving.system.plans["kitchen.keep"].call(context("cook"), arriving(ran, Invalid("wrong")))

    assert ran == ["body"]


async def test_a_full_app_does_not_even_look_at_tokens() -> None:
    ran: list[str] = []
    app = kitchen(ran, in_flight_max=1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    @app.query(allow=public)
    async def hold() -> None:
        begun.set()
        await go_on.wait()

    plans = app.serving.system.plans
    running = asyncio.create_task(plans["kitchen.hold"].call(Context.within("kitchen.hold", 10), ()))
    await begun.wait()
    with pytest.raises(Overloaded):
        await plans["kitchen.keep"].call(context(subject="", credential="Bearer nonsense"), arriving(ran, ()))
    assert ran == []

    go_on.set()
    await running
    assert app.serving.system.figures["kitchen.keep"].codes == {"ok": 0, "overloaded": 1}


# Inputs by name.


@pytest.fixture
def plan() -> Plan:
    app = App("kitchen", settings=Settings())

    @app.query(allow=public)
    async def add(left: int, right: int = 2, *, note: str = "none") -> str:
        return f"{left + right} {note}"

    return app.serving.system.plans["kitchen.add"]


def test_inputs_are_given_by_name_in_any_order_and_defaults_fill_the_rest(plan: Plan) -> None:
    assert plan.arguments({"note": "x", "left": 1}) == (1, 2, "x")


async def test_keyword_only_inputs_reach_the_function(plan: Plan) -> None:
    answer = await plan.call(Context.within("kitchen.add", 1), plan.arguments({"left": 1, "note": "x"}))

    assert answer == "3 x"


def test_an_unknown_input_is_refused_and_the_known_ones_are_named(plan: Plan) -> None:
    with pytest.raises(Invalid, match="no input 'up'; it takes: left, right, note"):
        plan.arguments({"up": 1})


def test_a_missing_input_is_named(plan: Plan) -> None:
    with pytest.raises(Invalid) as caught:
        plan.arguments({})

    assert [fault.path for fault in caught.value.faults] == ["$.left"]


def test_text_is_a_number_only_where_text_is_all_there_is(plan: Plan) -> None:
    assert plan.arguments({"left": "1"}, strict=False) == (1, 2, "none")
    with pytest.raises(Invalid):
        plan.arguments({"left": "1"})


async def test_positions_of_resources_among_inputs_do_not_matter() -> None:
    app = App("kitchen", settings=Settings())

    @app.query(allow=public)
    async def mixed(caller: Principal, left: int, context: Context, right: int, *, who: Principal) -> list[Any]:
        return [caller.subject, left, context.operation, right, who.subject]

    plan = app.serving.system.plans["kitchen.mixed"]
    ana = Context.within("kitchen.mixed", 1, Principal(subject="ana"))

    assert await plan.call(ana, (1, 2)) == ["ana", 1, "kitchen.mixed", 2, "ana"]


async def test_an_async_function_behind_a_plain_decorator_is_awaited_in_the_loop() -> None:
    import functools
    import threading

    app = App("kitchen", settings=Settings())

    def around(function: Any) -> Any:
        @functools.wraps(function)
        def call(*values: Any) -> Any:
            return function(*values)

        return call

    @app.query(allow=public)
    @around
    async def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    plan = app.serving.system.plans["kitchen.where"]

    assert await plan.call(Context.within("kitchen.where", 1), ()) is True
