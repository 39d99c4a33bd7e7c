"""Promise 1, same everywhere: every policy over every transport, and the same code from each of them."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import httpx
import pytest

import matrix_app
from toque.cli import main
from toque.codecs.problem import problem_document
from toque.contract.errors import Error
from toque.contract.operation import Kind
from toque.contract.principal import Principal
from toque.contract.signature import Place
from toque.settings import Settings
from toque.settings.tree import Calls
from toque.testing import Harness, running
from toque.testing.memory import MemoryScope
from toque.transports.asgi import AsgiApplication

NOBODY = Principal()
WAITER = Principal(subject="ana", roles=frozenset({"waiter"}))
COOK = Principal(subject="bo", roles=frozenset({"cook"}))

SECRET = "the secret of the house"


class Outcome(NamedTuple):
    """What a caller hears: a code, and the answer or the whole refusal."""

    code: str
    value: Any = None


class Transport(Protocol):
    """One way in."""

    def __call__(
        self, harness: Harness, operation: str, inputs: Mapping[str, Any], who: Principal
    ) -> Awaitable[Outcome]: ...


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    matrix_app.begun = asyncio.Event()
    matrix_app.release = asyncio.Event()
    # Two at once, so that one can be under way while another is refused.
    async with running(matrix_app.app, settings=Settings(calls=Calls(in_flight_max=2))) as harness:
        yield harness


# The transports.


async def in_memory(harness: Harness, operation: str, inputs: Mapping[str, Any], who: Principal) -> Outcome:
    try:
        return Outcome("ok", to_plain(await harness.call(f"matrix.{operation}", principal=who, **inputs)))
    except Error as error:
        return Outcome(error.code, to_plain(problem_document(error.problem())))
    except Exception:
        return Outcome("internal")


async def over_http(harness: Harness, operation: str, inputs: Mapping[str, Any], who: Principal) -> Outcome:
    method, target, body = request_for(harness, operation, inputs)
    answer = await harness.request(method, target, json=body, headers=credential(harness, who))
    return http_outcome(answer.status, answer.content)


async def over_asgi(harness: Harness, operation: str, inputs: Mapping[str, Any], who: Principal) -> Outcome:
    method, target, body = request_for(harness, operation, inputs)
    async with asgi_client(harness) as client:
        answer = await client.request(method, target, json=body, headers=credential(harness, who))
    return http_outcome(answer.status_code, answer.content)


async def over_json_rpc(harness: Harness, operation: str, inputs: Mapping[str, Any], who: Principal) -> Outcome:
    call = {"jsonrpc": "2.0", "id": 1, "method": f"matrix.{operation}", "params": inputs}
    answer = await harness.post("/rpc", json=call, headers=credential(harness, who))
    assert answer.status == 200
    return rpc_outcome(answer.json())


async def over_websocket(harness: Harness, operation: str, inputs: Mapping[str, Any], who: Principal) -> Outcome:
    call = {"jsonrpc": "2.0", "id": 1, "method": f"matrix.{operation}", "params": inputs}
    socket = MemorySocket()
    scope = MemoryScope("GET", "/ws", "", [("host", "localhost"), *credential(harness, who).items()])
    scope.proto = "ws"
    serving = asyncio.ensure_future(harness.serving.edge(scope, socket))
    await socket.incoming.put(Message(MemorySocket.TEXT, json.dumps(call)))
    answer = await socket.outgoing.get()
    await socket.incoming.put(Message(MemorySocket.CLOSE, ""))
    await serving
    return rpc_outcome(json.loads(answer))


async def by_command_line(harness: Harness, operation: str, inputs: Mapping[str, Any], who: Principal) -> Outcome:
    """A process of its own would do the same, and take a second for each of these."""
    words = ["call", operation, *(f"{name}={text_of(value)}" for name, value in inputs.items())]
    words += ["--app", matrix_app.__file__]
    words += [
        *(["--sub", who.subject] if who.subject else []),
        *(f"--role={role}" for role in sorted(who.roles)),
    ]
    code, out, err = await asyncio.to_thread(command_line, words)
    if code == 0:
        return Outcome("ok", plain_lines(out))
    assert code == 1
    if not err.startswith("{"):
        assert "ValueError" in err or "answered what it does not declare" in err
        return Outcome("internal")
    problem = json.loads(err)
    return Outcome(problem["code"], problem)


NETWORK: list[Transport] = [over_http, over_asgi, over_json_rpc, over_websocket]
TRANSPORTS: list[Transport] = [*NETWORK, in_memory, by_command_line]


# What they need.


class Message(NamedTuple):
    kind: int
    data: str


class MemorySocket:
    """RSGI's WebSocket without a network."""

    CLOSE, TEXT = 0, 2

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.outgoing: asyncio.Queue[str] = asyncio.Queue()
        self.closed: int | None = None

    async def accept(self) -> MemorySocket:
        return self

    async def receive(self) -> Message:
        return await self.incoming.get()

    async def send_str(self, data: str) -> None:
        await self.outgoing.put(data)

    def close(self, status: int | None = None) -> None:
        self.closed = status


@pytest.fixture(autouse=True)
def outputs(capsys: pytest.CaptureFixture[str]) -> None:
    """Where `command_line` finds what was printed."""
    global _printed
    _printed = capsys


_printed: pytest.CaptureFixture[str]


def command_line(words: list[str]) -> tuple[Any, str, str]:
    _printed.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(words)
    out, err = _printed.readouterr()
    return caught.value.code, out, err


def asgi_client(harness: Harness) -> httpx.AsyncClient:
    async def nothing() -> None: ...

    application: Any = AsgiApplication(harness.serving.edge, nothing, nothing)
    transport = httpx.ASGITransport(application)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=10)


def request_for(harness: Harness, name: str, inputs: Mapping[str, Any]) -> tuple[str, str, Any]:
    """The HTTP request that means the same as a call by name: its method, its target and its body."""
    plan = harness.serving.system.plans[f"matrix.{name}"]
    operation = plan.operation
    places = {found.name: found.place for found in plan.signature.inputs}
    path = (operation.path or "").format_map(inputs)
    query = [f"{name}={value}" for name, value in inputs.items() if places.get(name) in (Place.QUERY, None)]
    body = next((value for name, value in inputs.items() if places.get(name) is Place.BODY), None)
    if operation.kind is Kind.COMMAND and body is None:
        body = inputs
    return operation.method, path + ("?" + "&".join(query) if query else ""), body


def credential(harness: Harness, who: Principal) -> dict[str, str]:
    return {"authorization": f"Bearer {harness.token(who)}"} if who.subject else {}


def http_outcome(status: int, content: bytes) -> Outcome:
    if status < 300:
        return Outcome("ok", json.loads(content) if content else None)
    problem = json.loads(content)
    assert problem["status"] == status
    return Outcome(problem["code"], problem)


def rpc_outcome(answer: dict[str, Any]) -> Outcome:
    if "error" in answer:
        return Outcome(answer["error"]["data"]["code"], answer["error"]["data"])
    return Outcome("ok", answer["result"])


def to_plain(value: Any) -> Any:
    import msgspec

    return json.loads(msgspec.json.encode(value))


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def plain_lines(text: str) -> Any:
    """What was printed as JSON: one value, or the items of a stream."""
    decoder, values, rest = json.JSONDecoder(), [], text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        values.append(value)
        rest = rest[end:].lstrip()
    return values[0] if len(values) == 1 else values or None


# The matrix.


class Case(NamedTuple):
    title: str
    operation: str
    inputs: Mapping[str, Any]
    who: Principal
    code: str
    value: Any = None


GOOD, BAD = {"new": {"table": 4}}, {"new": {"table": 0}}

CASES = [
    Case("nobody is asked who they are", "place", GOOD, NOBODY, "unauthenticated"),
    Case("the wrong role is refused", "place", GOOD, COOK, "forbidden"),
    Case("the right role is served", "place", GOOD, WAITER, "ok", {"id": 1, "table": 4}),
    Case("a predicate refuses", "look", {"id": 11}, WAITER, "forbidden"),
    Case("only what is declared leaves", "look", {"id": 7}, WAITER, "ok", {"id": 7, "table": 4}),
    Case("a stream is for its role", "count", {"until": 3}, COOK, "forbidden"),
    Case("a stream is served", "count", {"until": 3}, WAITER, "ok", [0, 1, 2]),
    Case("a plain function is for its role", "plain", {}, NOBODY, "unauthenticated"),
    Case("a plain function is served", "plain", {}, WAITER, "ok", "from a thread"),
    Case("the caller is known", "who", {}, WAITER, "ok", "ana"),
    Case("nobody is nobody", "who", {}, NOBODY, "ok", "nobody"),
    Case("a wrong input is refused", "place", BAD, WAITER, "invalid"),
    Case("a missing input is refused", "look", {"id": "leek"}, WAITER, "invalid"),
    Case("whoever may not call hears nothing of a body", "place", BAD, COOK, "forbidden"),
    Case("whoever is nobody hears nothing of a body", "place", BAD, NOBODY, "unauthenticated"),
    Case("whoever may not call hears nothing of other inputs", "count", {"until": "leek"}, COOK, "forbidden"),
    Case("whoever is nobody hears nothing of them", "count", {"until": "leek"}, NOBODY, "unauthenticated"),
    Case("an error of the app's own", "sell", {}, NOBODY, "matrix_sold_out"),
    Case("an error of the app's own, from a thread", "sell_plainly", {}, NOBODY, "matrix_sold_out"),
    Case("an unforeseen error", "broken", {}, NOBODY, "internal"),
    Case("an answer of another shape", "undeclared", {}, NOBODY, "internal"),
    Case("the deadline", "wait", {}, NOBODY, "deadline_exceeded"),
]


def name_of(value: Any) -> str:
    return value.title if isinstance(value, Case) else getattr(value, "__name__", str(value))


@pytest.mark.parametrize("transport", TRANSPORTS, ids=name_of)
@pytest.mark.parametrize("case", CASES, ids=name_of)
async def test_every_transport_gives_the_same_answer(
    harness: Harness, case: Case, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "toque")

    outcome = await transport(harness, case.operation, case.inputs, case.who)

    assert outcome.code == case.code
    if case.code == "ok":
        assert outcome.value == case.value
    assert SECRET not in json.dumps(outcome.value)


@pytest.mark.parametrize("transport", [*NETWORK, in_memory], ids=name_of)
@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.operation != "undeclared"],
    ids=name_of,
)
async def test_every_transport_has_every_call_counted(
    harness: Harness, case: Case, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "toque")

    await transport(harness, case.operation, case.inputs, case.who)

    figures = harness.serving.system.figures
    counted = {name.partition(".")[2]: one.codes for name, one in figures.items() if one.calls}
    codes = {code: count for code, count in counted.pop(case.operation).items() if count}
    assert (codes, counted) == ({case.code: 1}, {})


@pytest.mark.parametrize("transport", [*NETWORK, in_memory], ids=name_of)
async def test_every_transport_is_refused_where_there_is_no_room(harness: Harness, transport: Transport) -> None:
    calls = [asyncio.create_task(transport(harness, "hold", {}, NOBODY)) for _ in range(2)]
    while not harness.serving.system.gate.is_full:
        await asyncio.sleep(0.005)

    refused = await transport(harness, "sell", {}, NOBODY)

    assert refused.code == "overloaded"
    matrix_app.release.set()
    assert [outcome.code for outcome in await asyncio.gather(*calls)] == ["ok", "ok"]


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(NETWORK, 2)), ids=name_of)
async def test_all_transports_share_one_limit(harness: Harness, first: Transport, second: Transport) -> None:
    calls = [asyncio.create_task(first(harness, "hold", {}, NOBODY)) for _ in range(2)]
    while not harness.serving.system.gate.is_full:
        await asyncio.sleep(0.005)

    assert (await second(harness, "sell", {}, NOBODY)).code == "overloaded"

    matrix_app.release.set()
    await asyncio.gather(*calls)


@pytest.mark.parametrize("transport", NETWORK, ids=name_of)
async def test_a_token_that_does_not_hold_opens_nothing_not_even_what_is_public(
    harness: Harness, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Harness, "token", lambda _self, _who: "no.such.token")

    assert (await transport(harness, "who", {}, WAITER)).code == "unauthenticated"


@pytest.mark.parametrize("transport", TRANSPORTS, ids=name_of)
async def test_every_transport_says_where_an_input_is_wrong(harness: Harness, transport: Transport) -> None:
    outcome = await transport(harness, "place", BAD, WAITER)

    [fault] = outcome.value["faults"]
    assert fault["path"].endswith(".table")
    assert "1" in fault["expected"]


@pytest.mark.parametrize("transport", TRANSPORTS, ids=name_of)
async def test_every_transport_tells_what_an_error_of_the_app_s_own_says(
    harness: Harness, transport: Transport
) -> None:
    outcome = await transport(harness, "sell", {}, NOBODY)

    assert outcome.value["title"] == "The dish is sold out"
    assert outcome.value["detail"] == "no more leeks"
    assert outcome.value["dish"] == 7


TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


async def trace_over_http(harness: Harness, headers: Mapping[str, str]) -> Any:
    return (await harness.get("/trace", headers=headers)).json()


async def trace_over_asgi(harness: Harness, headers: Mapping[str, str]) -> Any:
    async with asgi_client(harness) as client:
        return (await client.get("/trace", headers=dict(headers))).json()


async def trace_over_json_rpc(harness: Harness, headers: Mapping[str, str]) -> Any:
    call = {"jsonrpc": "2.0", "id": 1, "method": "matrix.trace"}
    return (await harness.post("/rpc", json=call, headers=headers)).json()["result"]


@pytest.mark.parametrize("ask", [trace_over_http, trace_over_asgi, trace_over_json_rpc], ids=name_of)
async def test_every_transport_continues_its_caller_s_trace(
    harness: Harness, ask: Callable[[Harness, Mapping[str, str]], Awaitable[Any]]
) -> None:
    sent = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}

    assert await ask(harness, sent) == TRACE_ID
    assert await ask(harness, {}) != TRACE_ID


async def test_a_caller_shortens_the_deadline_and_never_lengthens_it(harness: Harness) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "matrix.hold"}
    for headers in ({"x-timeout-ms": "40"}, {"X-Timeout-Ms": "40"}):
        assert (await harness.get("/hold", headers=headers)).status == 504
        answer = await harness.post("/rpc", json=call, headers=headers)
        assert rpc_outcome(answer.json()).code == "deadline_exceeded"

    assert (await harness.get("/wait", headers={"x-timeout-ms": "60000"})).status == 504


def test_the_app_of_the_matrix_is_the_one_that_the_command_line_loads() -> None:
    assert Path(matrix_app.__file__).parent == Path(__file__).parent
