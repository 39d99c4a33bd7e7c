"""JSON-RPC 2.0 as the specification has it, over no transport and over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import granian_serving, until

from toque.app import App
from toque.call.context import Context
from toque.call.plan import Plan
from toque.codecs.json import JSON
from toque.codecs.msgpack import MSGPACK
from toque.contract.access import authenticated, public
from toque.contract.errors import Error
from toque.settings import Settings
from toque.transports.bodies import BodyLimits
from toque.transports.jsonrpc import AT_ONCE_MAX, CALLS_MAX, ITEMS_MAX, JsonRpc
from toque.transports.router import Router
from toque.transports.rpc import http_endpoint
from toque.transports.rsgi import Edge, HostRule


class SoldOut(Error, code="sold_out_today", http=409, title="The dish is sold out"): ...


class Dish(msgspec.Struct):
    name: str
    price: int = 5


class SecretDish(Dish):
    recipe: str = "butter"


class Kitchen:
    """What the operations below did."""

    def __init__(self) -> None:
        self.rung = 0
        self.busy = 0
        self.busiest = 0
        self.stopped = 0


@pytest.fixture
def kitchen() -> Kitchen:
    return Kitchen()


@pytest.fixture
def app(kitchen: Kitchen) -> App:
    app = App("demo", settings=Settings())

    @app.query("/sum", allow=public)
    async def add(left: int, right: int = 10) -> int:
        return left + right

    @app.command(allow=public)
    async def store(dish: Dish) -> Dish:
        return SecretDish(dish.name, dish.price)

    @app.command(allow=public)
    async def ring() -> None:
        kitchen.rung += 1

    @app.command(allow=public)
    async def cook() -> None:
        kitchen.busy += 1
        kitchen.busiest = max(kitchen.busiest, kitchen.busy)
        await asyncio.sleep(0)
        kitchen.busy -= 1

    @app.command(allow=public)
    async def simmer() -> None:
        kitchen.busy += 1
        try:
            await asyncio.sleep(60)
        finally:
            kitchen.stopped += 1

    @app.query(allow=public)
    async def burn() -> int:
        raise RuntimeError("the password is hunter2")

    @app.query(allow=public)
    async def order() -> int:
        raise SoldOut("no soup left")

    @app.query(allow=public)
    async def count(to: int) -> AsyncIterator[Dish]:
        for number in range(to):
            yield SecretDish(str(number))

    @app.query("/picture", allow=public, media_type="image/png")
    async def picture() -> bytes:
        return b"png"

    @app.command("/upload", allow=public)
    async def upload(data: AsyncIterator[bytes]) -> None: ...

    @app.command(allow=authenticated)
    async def guarded(dish: Dish) -> Dish:
        return dish

    return app


@pytest.fixture
def rpc(app: App) -> JsonRpc:
    return JsonRpc(app.serving.system.plans, JSON)


def context_of(plan: Plan) -> Context:
    return Context(plan.operation.name, monotonic() + 30)


async def ask(rpc: JsonRpc, message: Any) -> Any:
    answer = await rpc.answer(msgspec.json.encode(message), context_of)
    return None if answer is None else msgspec.json.decode(answer)


def call(method: str, params: Any = None, **members: Any) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "method": f"demo.{method}", "id": 1, **members}
    return message if params is None else {**message, "params": params}


@pytest.mark.parametrize("params", [{"left": 1, "right": 2}, [1, 2]])
async def test_params_are_taken_by_name_and_by_position(rpc: JsonRpc, params: Any) -> None:
    assert await ask(rpc, call("add", params)) == {"jsonrpc": "2.0", "id": 1, "result": 3}


@pytest.mark.parametrize("params", [{"left": 1}, [1]])
async def test_a_param_left_out_has_its_default(rpc: JsonRpc, params: Any) -> None:
    assert (await ask(rpc, call("add", params)))["result"] == 11


async def test_a_result_holds_the_declared_fields_only(rpc: JsonRpc) -> None:
    answer = await ask(rpc, call("store", {"dish": {"name": "soup"}}))

    assert answer["result"] == {"name": "soup", "price": 5}


async def test_an_operation_that_answers_nothing_has_the_result_null(rpc: JsonRpc) -> None:
    assert await ask(rpc, call("ring")) == {"jsonrpc": "2.0", "id": 1, "result": None}


@given(st.none() | st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_an_id_comes_back_as_it_came(call_id: Any) -> None:
    answer = asyncio.run(ask(JsonRpc({}, JSON), call("x", id=call_id)))

    assert answer["id"] == call_id
    assert type(answer["id"]) is type(call_id)


async def test_a_notification_is_done_and_not_answered(rpc: JsonRpc, kitchen: Kitchen) -> None:
    assert await ask(rpc, {"jsonrpc": "2.0", "method": "demo.ring"}) is None
    assert kitchen.rung == 1


@pytest.mark.parametrize("method", ["demo.burn", "demo.nothing", "demo.add"])
async def test_a_notification_that_fails_is_not_answered(rpc: JsonRpc, method: str) -> None:
    assert await ask(rpc, {"jsonrpc": "2.0", "method": method}) is None


async def test_a_batch_is_answered_with_one_answer_for_each_call_that_has_an_id(rpc: JsonRpc) -> None:
    answers = await ask(
        rpc,
        [call("add", [1, 1], id="a"), {"jsonrpc": "2.0", "method": "demo.ring"}, 7, call("nothing", id="b")],
    )

    assert len(answers) == 3
    by_id = {answer["id"]: answer for answer in answers}
    assert by_id["a"]["result"] == 2
    assert by_id["b"]["error"]["code"] == -32601
    assert by_id[None]["error"]["code"] == -32600


async def test_a_batch_of_notifications_is_not_answered(rpc: JsonRpc, kitchen: Kitchen) -> None:
    assert await ask(rpc, [{"jsonrpc": "2.0", "method": "demo.ring"}] * 3) is None
    assert kitchen.rung == 3


async def test_the_calls_of_a_batch_run_at_once_but_not_too_many(rpc: JsonRpc, kitchen: Kitchen) -> None:
    await ask(rpc, [call("cook")] * CALLS_MAX)

    assert kitchen.busiest == AT_ONCE_MAX


@pytest.mark.parametrize(
    ("message", "code"),
    [([], -32600), ([call("ring")] * (CALLS_MAX + 1), -32013)],
)
async def test_an_empty_and_an_endless_batch_are_refused_as_one(
    rpc: JsonRpc, kitchen: Kitchen, message: Any, code: int
) -> None:
    answer = await ask(rpc, message)

    assert answer["id"] is None
    assert answer["error"]["code"] == code
    assert kitchen.rung == 0


@pytest.mark.parametrize("payload", [b"", b"{", b'{"jsonrpc":"2.0"', b"\xff", b"[" * 5000, b"[NaN]"])
async def test_what_is_no_json_is_a_parse_error(rpc: JsonRpc, payload: bytes) -> None:
    answer = json.loads(await rpc.answer(payload, context_of) or b"")

    assert answer["id"] is None
    assert answer["error"]["code"] == -32700


@pytest.mark.parametrize(
    "message",
    [
        1,
        "x",
        None,
        {},
        {"jsonrpc": "1.0", "method": "demo.ring", "id": 1},
        {"method": "demo.ring", "id": 1},
        {"jsonrpc": "2.0", "method": 1, "params": "bar"},
        call("ring", "bar"),
        {**call("ring"), "params": None},
        call("ring", id=True),
        call("ring", id={}),
        call("ring", id=[]),
    ],
)
async def test_what_is_no_call_is_an_invalid_request(rpc: JsonRpc, kitchen: Kitchen, message: Any) -> None:
    answer = await ask(rpc, message)

    assert answer["error"]["code"] == -32600
    assert kitchen.rung == 0


async def test_an_unknown_method_is_not_found(rpc: JsonRpc) -> None:
    assert (await ask(rpc, call("nothing")))["error"]["code"] == -32601


@pytest.mark.parametrize(
    "params", [{}, {"left": "1"}, {"left": 1, "wrong": 2}, [1, 2, 3], [], {"left": 1, "right": None}]
)
async def test_params_that_do_not_fit_are_invalid(rpc: JsonRpc, params: Any) -> None:
    error = (await ask(rpc, call("add", params)))["error"]

    assert error["code"] == -32602
    assert error["data"]["code"] == "invalid"


async def test_an_error_says_which_field_is_wrong(rpc: JsonRpc) -> None:
    error = (await ask(rpc, call("store", {"dish": {"name": "soup", "price": "x"}})))["error"]

    assert error["data"]["faults"][0]["path"] == "$.dish.price"


async def test_a_failure_of_the_app_tells_no_secret(rpc: JsonRpc, caplog: pytest.LogCaptureFixture) -> None:
    error = (await ask(rpc, call("burn")))["error"]

    assert error["code"] == -32603
    assert len(error["data"]["trace_id"]) == 32
    assert "hunter2" not in json.dumps(error)
    assert "hunter2" in caplog.text


async def test_an_apps_own_error_has_its_number_and_its_problem_document(rpc: JsonRpc) -> None:
    error = (await ask(rpc, call("order")))["error"]

    assert (error["code"], error["message"]) == (-32009, "no soup left")
    assert (error["data"]["code"], error["data"]["status"]) == ("sold_out_today", 409)


async def test_a_stream_is_answered_as_an_array_of_declared_views(rpc: JsonRpc) -> None:
    assert (await ask(rpc, call("count", [2])))["result"] == [
        {"name": "0", "price": 5},
        {"name": "1", "price": 5},
    ]


async def test_a_stream_without_an_end_is_too_large(rpc: JsonRpc) -> None:
    assert len((await ask(rpc, call("count", [ITEMS_MAX])))["result"]) == ITEMS_MAX
    assert (await ask(rpc, call("count", [ITEMS_MAX + 1])))["error"]["data"]["code"] == "too_large"


@pytest.mark.parametrize(("method", "path"), [("picture", "/picture"), ("upload", "/upload")])
async def test_bytes_are_not_offered_and_the_answer_says_where_they_are(rpc: JsonRpc, method: str, path: str) -> None:
    error = (await ask(rpc, call(method)))["error"]

    assert error["data"]["code"] == "unimplemented"
    assert path in error["message"]


async def test_who_may_not_call_is_not_told_what_is_wrong_with_the_input(rpc: JsonRpc) -> None:
    assert (await ask(rpc, call("guarded", {"dish": 7})))["error"]["code"] == -32001


async def test_messagepack_carries_the_same_calls(app: App) -> None:
    rpc = JsonRpc(app.serving.system.plans, MSGPACK)

    answer = await rpc.answer(msgspec.msgpack.encode([call("add", [1, 2]), call("nothing")]), context_of)

    first, second = msgspec.msgpack.decode(answer or b"")
    assert first == {"jsonrpc": "2.0", "id": 1, "result": 3}
    assert second["error"]["data"]["code"] == "unknown_operation"


@pytest.mark.parametrize("params", [{1: 2}, {None: 1, "left": 1}, {(1, 2): 3}])
async def test_messagepack_params_that_are_not_named_by_text_are_invalid(app: App, params: Any) -> None:
    rpc = JsonRpc(app.serving.system.plans, MSGPACK)

    answer = await rpc.answer(msgspec.msgpack.encode(call("add", params)), context_of)

    assert msgspec.msgpack.decode(answer or b"")["error"]["code"] in (-32602, -32700)


@pytest.fixture
async def http(rpc: JsonRpc) -> AsyncIterator[httpx.AsyncClient]:
    router = Router()
    router.route("/rpc").methods["POST"] = http_endpoint(rpc, BodyLimits(100_000, 10), 1024)
    async with (
        granian_serving(Edge(router, HostRule([]), None)) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        yield client


async def test_over_http_a_call_is_answered_with_200_whatever_came_of_it(http: httpx.AsyncClient) -> None:
    good = await http.post("/rpc", json=call("add", [1, 2]))
    bad = await http.post("/rpc", json=call("nothing"))
    broken = await http.post("/rpc", content=b"{", headers={"content-type": "application/json; charset=utf-8"})

    assert [good.status_code, bad.status_code, broken.status_code] == [200, 200, 200]
    assert good.json()["result"] == 3
    assert broken.json()["error"]["code"] == -32700
    assert good.headers["content-type"] == "application/json"
    assert good.headers["x-content-type-options"] == "nosniff"


async def test_over_http_a_notification_is_answered_with_204(http: httpx.AsyncClient) -> None:
    reply = await http.post("/rpc", json={"jsonrpc": "2.0", "method": "demo.ring"})

    assert (reply.status_code, reply.content) == (204, b"")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_over_http_only_json_is_taken(
    http: httpx.AsyncClient, kitchen: Kitchen, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    reply = await http.post("/rpc", content=json.dumps(call("ring")), headers=headers)

    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")
    assert kitchen.rung == 0


async def test_over_http_a_body_beyond_the_limit_is_refused(http: httpx.AsyncClient) -> None:
    reply = await http.post("/rpc", json=call("store", {"dish": {"name": "x" * 100_000}}))

    assert (reply.status_code, reply.json()["code"]) == (413, "too_large")


async def test_over_http_the_callers_trace_goes_on(http: httpx.AsyncClient) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    reply = await http.post("/rpc", json=call("order"), headers={"traceparent": parent})

    assert reply.headers["traceparent"].startswith(f"00-{'a' * 32}-")
    assert reply.json()["error"]["data"]["trace_id"] == "a" * 32


async def test_over_http_the_caller_may_shorten_the_deadline(http: httpx.AsyncClient, kitchen: Kitchen) -> None:
    reply = await http.post("/rpc", json=[call("simmer"), call("simmer")], headers={"x-timeout-ms": "50"})

    assert [answer["error"]["data"]["code"] for answer in reply.json()] == ["deadline_exceeded"] * 2
    assert kitchen.stopped == 2


async def test_over_http_a_deadline_that_is_no_number_is_refused(http: httpx.AsyncClient) -> None:
    reply = await http.post("/rpc", json=call("ring"), headers={"x-timeout-ms": "soon"})

    assert (reply.status_code, reply.json()["code"]) == (400, "bad_request")


async def test_over_http_every_call_of_a_batch_stops_when_the_client_leaves(
    http: httpx.AsyncClient, kitchen: Kitchen
) -> None:
    asking = asyncio.create_task(http.post("/rpc", json=[call("simmer")] * 3))
    await until(lambda: kitchen.busy == 3)

    asking.cancel()

    await until(lambda: kitchen.stopped == 3)
