"""FastAPI inside our edge, on granian."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from servers import granian_serving, until, uvicorn_serving
from starlette.middleware.base import BaseHTTPMiddleware
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from toque.app import App
from toque.contract.access import public
from toque.settings import Settings
from toque.transports.asgi import AsgiApplication
from toque.transports.mounted import Mounted
from toque.transports.router import Router
from toque.transports.rsgi import Edge, HostRule


class Kitchen:
    """What happened to the app below."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.waiting = 0
        self.left = 0


@pytest.fixture
def kitchen() -> Kitchen:
    return Kitchen()


@pytest.fixture
def legacy(kitchen: Kitchen) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        kitchen.told.append("start")
        yield {"greeting": "hello"}
        kitchen.told.append("stop")

    app = FastAPI(lifespan=lifespan)

    @app.get("/hello/{name}", name="greet")
    async def hello(request: Request, name: str, loud: bool = False) -> dict[str, Any]:
        return {
            "text": f"{request.state.greeting} {name}{'!' if loud else ''}",
            "url": str(request.url_for("greet", name=name)),
            "root_path": request.scope["root_path"],
            "client": request.client.host if request.client else None,
            "two": request.headers.getlist("x-two"),
        }

    @app.post("/size")
    async def size(request: Request) -> list[int]:
        sizes = [len(chunk) async for chunk in request.stream()]
        return [sum(sizes), max(sizes)]

    @app.post("/echo")
    async def echo(dish: dict[str, Any]) -> dict[str, Any]:
        return dish

    @app.get("/numbers")
    async def numbers() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            for number in range(3):
                yield f"{number}\n".encode()

        return StreamingResponse(body(), media_type="text/plain", headers={"set-cookie": "a=b"})

    @app.get("/burn")
    async def burn() -> None:
        raise RuntimeError("the password is hunter2")

    @app.get("/burn-late")
    async def burn_late() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"part"
            raise RuntimeError("too late")

        return StreamingResponse(body(), headers={"content-length": "100"})

    @app.get("/wait")
    async def wait(request: Request) -> None:
        kitchen.waiting += 1
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        kitchen.left += 1

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            try:
                while True:
                    kitchen.waiting += 1
                    yield b"x"
                    await asyncio.sleep(0.01)
            finally:
                kitchen.left += 1

        return StreamingResponse(body())

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        if websocket.query_params.get("secret") != "1":
            await websocket.close()
            return
        await websocket.accept()
        try:
            async for text in websocket.iter_text():
                if text == "burn":
                    raise RuntimeError("socket on fire")
                if text == "bye":
                    await websocket.close()
                    return
                await websocket.send_text(f"{text} {websocket.scope['root_path']}")
        finally:
            kitchen.left += 1

    return app


def edge_around(app: Mounted, prefix: str = "/legacy") -> Edge:
    router = Router()
    for template in (prefix, f"{prefix}/{{*}}"):
        router.route(template).otherwise = app
        router.route(template).websocket = app.websocket
    return Edge(router, HostRule([]), None)


@asynccontextmanager
async def serving(app: Any, prefix: str = "/legacy") -> AsyncIterator[str]:
    inner = Mounted(app, prefix)
    await inner.start()
    async with granian_serving(edge_around(inner, prefix)) as address:
        yield f"{address}{prefix}"
    await inner.stop()


@pytest.fixture
async def address(legacy: FastAPI) -> AsyncIterator[str]:
    async with serving(legacy) as address:
        yield address


@pytest.fixture
async def client(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        yield client


async def test_fastapi_answers_below_its_prefix_and_knows_it(client: httpx.AsyncClient) -> None:
    reply = await client.get("/hello/an%C3%A4", params={"loud": "true"}, headers=[("x-two", "1"), ("x-two", "2")])

    answer = reply.json()
    assert answer["text"] == "hello anä!"
    assert answer["url"] == f"{client.base_url}hello/anä"
    assert answer["root_path"] == "/legacy"
    assert answer["client"] == "127.0.0.1"
    assert answer["two"] == ["1", "2"]


async def test_fastapis_own_documents_know_the_prefix(client: httpx.AsyncClient) -> None:
    assert (await client.get("/openapi.json")).json()["servers"] == [{"url": "/legacy"}]
    assert "/legacy/openapi.json" in (await client.get("/docs")).text


async def test_fastapi_decides_about_methods_and_paths_itself(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nowhere")).json() == {"detail": "Not Found"}
    assert (await client.put("/echo")).status_code == 405
    assert (await client.options("/echo")).status_code == 405


async def test_a_body_with_and_without_a_length_is_read(client: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"name":'
        yield b'"soup"}'

    whole = await client.post("/echo", json={"name": "soup"})
    chunked = await client.post("/echo", content=body(), headers={"content-type": "application/json"})

    assert whole.json() == chunked.json() == {"name": "soup"}


async def test_an_upload_arrives_in_pieces(client: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    total, largest = (await client.post("/size", content=body())).json()

    assert total == 20_000_000
    assert largest < 2_000_000


async def test_http2_bodies_are_read_too(address: str) -> None:
    async with httpx.AsyncClient(http1=False, http2=True) as client:
        reply = await client.post(f"http://{address}/echo", json={"name": "soup"})
        plain = await client.get(f"http://{address}/hello/ana")

    assert (reply.http_version, reply.json()) == ("HTTP/2", {"name": "soup"})
    assert plain.json()["url"] == f"http://{address}/hello/ana"


async def test_a_stream_is_answered_with_its_headers(client: httpx.AsyncClient) -> None:
    reply = await client.get("/numbers")

    assert reply.text == "0\n1\n2\n"
    assert reply.headers["set-cookie"] == "a=b"


async def test_head_is_answered_without_content(client: httpx.AsyncClient, legacy: FastAPI) -> None:
    legacy.add_api_route("/own", lambda: "own", methods=["GET", "HEAD"])

    reply = await client.head("/own")

    assert (reply.status_code, reply.content, reply.headers["content-length"]) == (200, b"", "5")


async def test_head_is_answered_without_content_over_http2_too(address: str, legacy: FastAPI) -> None:
    legacy.add_api_route("/own", lambda: "own", methods=["GET", "HEAD"])

    async with httpx.AsyncClient(base_url=f"http://{address}", http1=False, http2=True) as client:
        reply = await client.head("/own")

    assert (reply.status_code, reply.content, reply.headers["content-length"]) == (200, b"", "5")


async def test_middleware_that_wraps_receive_loses_nothing(legacy: FastAPI) -> None:
    async def passing(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    legacy.add_middleware(BaseHTTPMiddleware, dispatch=passing)

    async with serving(legacy) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        assert (await client.post("/size", content=b"x" * 3_000_000)).json()[0] == 3_000_000
        assert (await client.get("/numbers")).text == "0\n1\n2\n"


async def test_a_failure_before_the_answer_is_a_problem(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("the password is hunter2")

    async with serving(failing) as address, httpx.AsyncClient() as other:
        reply = await other.get(f"http://{address}/")

    assert (reply.status_code, reply.json()["code"]) == (500, "internal")
    assert "hunter2" not in reply.text
    assert "hunter2" in caplog.text


async def test_an_application_that_answers_nothing_is_a_problem() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None: ...

    async with serving(silent) as address, httpx.AsyncClient() as client:
        assert (await client.get(f"http://{address}/")).status_code == 500


async def test_fastapis_own_error_page_is_its_own(client: httpx.AsyncClient) -> None:
    reply = await client.get("/burn")

    assert (reply.status_code, reply.text) == (500, "Internal Server Error")


async def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/burn-late")


@pytest.mark.parametrize("path", ["/wait", "/endless"])
async def test_the_application_hears_that_its_client_left(
    client: httpx.AsyncClient, kitchen: Kitchen, path: str
) -> None:
    asking = asyncio.create_task(client.get(path))
    await until(lambda: kitchen.waiting > 0)

    asking.cancel()

    await until(lambda: kitchen.left == 1)


async def test_the_application_hears_that_its_client_left_before_the_answer_began(kitchen: Kitchen) -> None:
    """The server opens its end of the answer's pipe only for who is still there."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        kitchen.waiting += 1
        await asyncio.sleep(0.2)
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await asyncio.sleep(0.01)
        finally:
            kitchen.left += 1

    async with serving(slow) as address:
        _, writer = await asyncio.open_connection(*address.removesuffix("/legacy").split(":"))
        writer.write(b"GET /legacy/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: kitchen.waiting)
        writer.close()
        await until(lambda: kitchen.left == 1)


async def test_a_body_whose_sender_left_is_not_taken_for_a_whole_one() -> None:
    seen: list[str] = []

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while scope["type"] == "http" and seen[-1:] != ["http.disconnect"]:
            message = await receive()
            seen.append(message["type"])
            assert message.get("more_body", True), "the body is never whole"

    async with serving(reading) as address:
        _, writer = await asyncio.open_connection(*address.removesuffix("/legacy").split(":"))
        writer.write(b"POST /legacy/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        await until(lambda: seen)
        writer.close()
        await until(lambda: seen[-1] == "http.disconnect")


async def test_a_websocket_reaches_the_application(address: str, kitchen: Kitchen) -> None:
    async with connect(f"ws://{address}/socket?secret=1") as socket:
        await socket.send("hi")
        assert await socket.recv() == "hi /legacy"

    await until(lambda: kitchen.left == 1)


async def test_a_websocket_that_the_application_refuses_is_refused(address: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://{address}/socket")

    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("last", ["bye", "burn"])
async def test_a_websocket_ends_with_the_application(address: str, last: str) -> None:
    async with connect(f"ws://{address}/socket?secret=1") as socket:
        await socket.send(last)
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_the_applications_lifespan_is_ours(legacy: FastAPI, kitchen: Kitchen) -> None:
    async with serving(legacy):
        assert kitchen.told == ["start"]

    assert kitchen.told == ["start", "stop"]


async def test_an_application_that_cannot_start_says_why() -> None:
    async def lifespan(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(RuntimeError, match="no database"):
        await Mounted(lifespan, "/x").start()


@pytest.mark.parametrize("status", [-1, 99, 101, 1000])
async def test_a_status_that_no_answer_can_have_is_the_applications_failure(status: Any) -> None:
    """granian ends the process over it, with all calls that are under way."""

    async def odd(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    async with serving(odd) as address, httpx.AsyncClient() as client:
        assert (await client.get(f"http://{address}/")).status_code == 500


async def test_an_application_without_a_lifespan_needs_none() -> None:
    async def plain(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    inner = Mounted(plain, "/x")
    await inner.start()
    await inner.stop()


async def test_an_app_mounts_fastapi_and_serves_it_with_its_own_operations(legacy: FastAPI, kitchen: Kitchen) -> None:
    app = App("demo", settings=Settings())
    app.mount("/legacy", legacy)

    @app.query("/own", allow=public)
    async def own() -> str:
        return "toque"

    async with uvicorn_serving(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        assert kitchen.told == ["start"]
        assert (await client.get("/own")).json() == "toque"
        assert (await client.get("/legacy/hello/ana")).json()["text"] == "hello ana"
        assert (await client.post("/rpc", json={"jsonrpc": "2.0", "method": "demo.own", "id": 1})).json() == {
            "jsonrpc": "2.0",
            "id": 1,
            "result": "toque",
        }

    assert kitchen.told == ["start", "stop"]


async def test_in_fastapi_an_app_starts_and_stops_with_it_where_it_is_given_its_lifespan(
    legacy: FastAPI, kitchen: Kitchen
) -> None:
    app = App("demo", settings=Settings())
    app.mount("/legacy", legacy)
    host = FastAPI(lifespan=app.lifespan)
    host.mount("/toque", app)

    async with uvicorn_serving(host) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        assert kitchen.told == ["start"]
        assert (await client.get("/toque/legacy/hello/ana")).json()["text"] == "hello ana"

    assert kitchen.told == ["start", "stop"]


async def test_under_an_asgi_server_an_answer_does_not_wait_for_what_is_done_after_it() -> None:
    may_end = asyncio.Event()
    legacy = FastAPI()

    @legacy.get("/later")
    async def later(tasks: BackgroundTasks) -> str:
        tasks.add_task(may_end.wait)
        return "at once"

    app = App("demo", settings=Settings())
    app.mount("/legacy", legacy)

    async with uvicorn_serving(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        assert (await client.get("/legacy/later")).json() == "at once"
        may_end.set()


async def test_mounted_in_a_mounted_edge_the_prefixes_add_up(legacy: FastAPI) -> None:
    inner = Mounted(legacy, "/legacy")
    host = FastAPI()
    host.mount("/toque", AsgiApplication(edge_around(inner), inner.start, inner.stop))

    async with uvicorn_serving(host) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        answer = (await client.get("/toque/legacy/hello/ana")).json()
        async with connect(f"ws://{address}/toque/legacy/socket?secret=1") as socket:
            await socket.send("hi")
            text = await socket.recv()
    await inner.stop()

    assert (answer["text"], answer["root_path"]) == ("hello ana", "/toque/legacy")
    assert answer["url"] == f"http://{address}/toque/legacy/hello/ana"
    assert text == "hi /toque/legacy"
    assert json.dumps(answer)
