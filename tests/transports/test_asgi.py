"""Our edge under an ASGI server and inside FastAPI."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from servers import until, uvicorn_serving

from toque.app import App
from toque.call.context import Context
from toque.contract.access import public
from toque.settings import Settings
from toque.testing import running
from toque.transports.asgi import AsgiApplication
from toque.transports.router import Router
from toque.transports.rsgi import Edge, HostRule


class NewDish(msgspec.Struct):
    name: str


class Kitchen:
    """What happened to the app below."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.cooking = 0
        self.stopped = 0
        self.sent = 0


@pytest.fixture
def kitchen() -> Kitchen:
    return Kitchen()


@pytest.fixture
def app(kitchen: Kitchen) -> App:
    app = App("demo", settings=Settings())

    @app.query("/hello/{name}", allow=public)
    async def hello(name: str, loud: bool = False) -> str:
        return name.upper() if loud else name

    @app.command("/dishes", allow=public, status=201, location="/dishes/{name}")
    async def store(dish: NewDish) -> NewDish:
        return dish

    @app.command("/nothing", allow=public)
    async def nothing() -> None: ...

    @app.query("/simmer", allow=public)
    async def simmer(context: Context) -> str:
        kitchen.cooking += 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            kitchen.stopped += 1
            raise
        return "done"

    @app.command("/upload", allow=public, body_bytes_max=100_000_000)
    async def upload(data: AsyncIterator[bytes]) -> list[int]:
        sizes = [len(chunk) async for chunk in data]
        return [sum(sizes), max(sizes)]

    @app.query("/numbers", allow=public)
    async def numbers(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    return app


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    async with uvicorn_serving(app) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        yield client


async def test_an_app_is_an_AsgiApplication(client: httpx.AsyncClient) -> None:
    reply = await client.get("/hello/an%C3%A4", params={"loud": "true"})

    assert (reply.status_code, reply.json()) == (200, "ANÄ")
    assert reply.headers["content-length"] == str(len(reply.content))


async def test_a_body_is_read_and_the_answers_headers_arrive(client: httpx.AsyncClient) -> None:
    reply = await client.post("/dishes", json={"name": "soup"})

    assert (reply.status_code, reply.json()) == (201, {"name": "soup"})
    assert reply.headers["location"] == "/dishes/soup"


async def test_a_chunked_body_is_read(client: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        for part in (b'{"na', b'me":', b'"soup"}'):
            yield part

    reply = await client.post("/dishes", content=body(), headers={"content-type": "application/json"})

    assert reply.json() == {"name": "soup"}


async def test_an_answer_without_content_has_none(client: httpx.AsyncClient) -> None:
    reply = await client.post("/nothing")

    assert reply.content == b""
    assert reply.status_code in (200, 204)


async def test_errors_are_problem_documents(client: httpx.AsyncClient) -> None:
    missing = await client.get("/nowhere")
    wrong = await client.post("/dishes", json={"name": 7})
    method = await client.delete("/hello/ana")

    assert [missing.status_code, wrong.status_code, method.status_code] == [404, 422, 405]
    assert wrong.headers["content-type"] == "application/problem+json"
    assert wrong.json()["faults"][0]["path"] == "$.name"
    assert "GET" in method.headers["allow"]


async def test_head_is_answered_without_content(client: httpx.AsyncClient) -> None:
    reply = await client.head("/hello/ana")

    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-length"] == "5"


async def test_head_of_a_stream_has_no_length_as_get_has_none(client: httpx.AsyncClient) -> None:
    reply = await client.head("/numbers", params={"to": 3})

    assert (reply.status_code, reply.content) == (200, b"")
    assert "content-length" not in reply.headers


async def test_an_upload_arrives_in_pieces(client: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 100_000

    reply = await client.post("/upload", content=body())
    total, largest = reply.json()

    assert total == 20_000_000
    assert largest < 1_000_000


async def test_a_stream_is_answered_item_by_item(client: httpx.AsyncClient) -> None:
    reply = await client.get("/numbers", params={"to": 3}, headers={"accept": "application/x-ndjson"})

    assert reply.content.split() == [b"0", b"1", b"2"]
    assert "content-length" not in reply.headers


async def test_a_stream_is_compressed_for_who_takes_it(client: httpx.AsyncClient) -> None:
    headers = {"accept": "application/x-ndjson", "accept-encoding": "gzip"}
    reply = await client.get("/numbers", params={"to": 3}, headers=headers)

    assert reply.headers["content-encoding"] == "gzip"
    assert reply.content.split() == [b"0", b"1", b"2"]


async def test_a_client_that_leaves_stops_its_call(client: httpx.AsyncClient, kitchen: Kitchen) -> None:
    asking = asyncio.create_task(client.get("/simmer"))
    await until(lambda: kitchen.cooking == 1)

    asking.cancel()

    await until(lambda: kitchen.stopped == 1)


# What an endpoint may do with RSGI's protocol that no operation above does.


def edge_of(answer: Any) -> Edge:
    router = Router()
    router.route("/").methods["GET"] = answer
    router.route("/").methods["POST"] = answer
    return Edge(router, HostRule([]), None)


async def nothing() -> None: ...


async def fetched(answer: Any, **request: Any) -> httpx.Response:
    async with (
        uvicorn_serving(AsgiApplication(edge_of(answer), nothing, nothing)) as address,
        httpx.AsyncClient(base_url=f"http://{address}") as client,
    ):
        return await client.request(request.pop("method", "GET"), "/", **request)


async def test_text_is_answered() -> None:
    async def answer(scope: Any, asked: Any, proto: Any, segments: Any) -> None:
        proto.response_str(200, [("content-type", "text/plain")], "grüße")

    assert (await fetched(answer)).text == "grüße"


@pytest.mark.parametrize(("first", "end"), [(0, 300_000), (10, 200_010)])
async def test_a_file_or_a_range_of_it_is_answered(tmp_path: Path, first: int, end: int) -> None:
    file = tmp_path / "file"
    content = bytes(range(250)) * 1200
    file.write_bytes(content)

    async def answer(scope: Any, asked: Any, proto: Any, segments: Any) -> None:
        if first:
            proto.response_file_range(206, [("content-length", str(end - first))], str(file), first, end)
        else:
            proto.response_file(200, [("content-length", str(end))], str(file))

    assert (await fetched(answer)).content == content[first:end]


async def test_the_scope_says_what_rsgis_says() -> None:
    seen: dict[str, Any] = {}

    async def answer(scope: Any, asked: Any, proto: Any, segments: Any) -> None:
        seen.update({name: getattr(scope, name) for name in ("proto", "http_version", "scheme", "method", "path")})
        seen["query"] = scope.query_string
        seen["headers"] = scope.headers
        seen["client"], seen["server"] = scope.client.split(":")[0], scope.server.split(":")[0]
        proto.response_empty(200, [])

    await fetched(answer, params={"a": "b c"}, headers=[("X-Two", "1"), ("X-Two", "2")])

    headers = seen.pop("headers")
    assert seen == {
        "proto": "http", "http_version": "1.1", "scheme": "http", "method": "GET", "path": "/",
        "query": "a=b+c", "client": "127.0.0.1", "server": "127.0.0.1",
    }  # fmt: skip
    assert headers.get("x-two") == "1"
    assert headers.get_all("x-two") == ["1", "2"]
    assert headers.get("none") is None
    assert "x-two" in headers
    assert ("x-two", "2") in headers.items()


async def test_a_reader_and_a_watcher_share_the_request_without_a_loss() -> None:
    async def answer(scope: Any, asked: Any, proto: Any, segments: Any) -> None:
        watching = asyncio.create_task(proto.client_disconnect())
        count = 0
        async for chunk in proto:
            await asyncio.sleep(0)
            count += len(chunk)
        watching.cancel()
        proto.response_str(200, [], str(count))

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 50_000

    assert (await fetched(answer, method="POST", content=body())).text == "5000000"


async def test_a_body_whose_sender_left_is_not_taken_for_a_whole_one() -> None:
    outcome: list[str] = []

    async def answer(scope: Any, asked: Any, proto: Any, segments: Any) -> None:
        try:
            outcome.append(str(len(await proto())))
        except ConnectionError:
            outcome.append("broken")

    async with uvicorn_serving(AsgiApplication(edge_of(answer), nothing, nothing)) as address:
        _, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await until(lambda: outcome)

    assert outcome == ["broken"]


async def test_a_stream_waits_for_a_client_that_does_not_read(kitchen: Kitchen) -> None:
    many = 2000

    async def answer(scope: Any, asked: Any, proto: Any, segments: Any) -> None:
        stream = proto.response_stream(200, [])
        for _ in range(many):
            await stream.send_bytes(b"x" * 100_000)
            kitchen.sent += 1

    async with uvicorn_serving(AsgiApplication(edge_of(answer), nothing, nothing)) as address:
        _, writer = await asyncio.open_connection(*address.split(":"), limit=1000)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: kitchen.sent > 0)
        before = -1
        while before != kitchen.sent:
            before = kitchen.sent
            await asyncio.sleep(0.2)
        writer.transport.abort()

    assert before < many / 2


# Beginning and end.


class Life:
    def __init__(self) -> None:
        self.told: list[str] = []

    async def start(self) -> None:
        await asyncio.sleep(0.01)
        self.told.append("start")

    async def stop(self) -> None:
        self.told.append("stop")


async def hi(scope: Any, asked: Any, proto: Any, segments: Any) -> None:
    proto.response_str(200, [], scope.path)


async def test_the_servers_lifespan_starts_and_stops_the_system() -> None:
    life = Life()

    async with uvicorn_serving(AsgiApplication(edge_of(hi), life.start, life.stop)):
        assert life.told == ["start"]

    assert life.told == ["start", "stop"]


async def test_a_system_that_cannot_start_tells_the_server_why() -> None:
    async def start() -> None:
        raise RuntimeError("no database")

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    await AsgiApplication(edge_of(hi), start, nothing)({"type": "lifespan"}, receive, send)

    assert sent == [{"type": "lifespan.startup.failed", "message": "no database"}]


async def test_a_scope_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an ASGI scope"):
        await AsgiApplication(edge_of(hi), nothing, nothing)({"type": "mqtt"}, nothing, nothing)  # type: ignore[arg-type]


async def test_mounted_in_fastapi_it_starts_once_at_the_first_requests() -> None:
    life = Life()
    host = FastAPI()
    host.mount("/kitchen", AsgiApplication(edge_of(hi), life.start, life.stop))

    async with uvicorn_serving(host) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        assert life.told == []
        replies = await asyncio.gather(*(client.get("/kitchen/") for _ in range(5)))

    assert [reply.text for reply in replies] == ["/"] * 5
    assert life.told == ["start"]


async def test_a_start_that_failed_is_tried_again_by_the_next_request() -> None:
    life = Life()
    failures = [RuntimeError("not yet")]

    async def start() -> None:
        if failures:
            raise failures.pop()
        await life.start()

    host = FastAPI()
    host.mount("/kitchen", AsgiApplication(edge_of(hi), start, life.stop))

    async with uvicorn_serving(host) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        statuses = [(await client.get("/kitchen/")).status_code for _ in range(2)]

    assert statuses == [500, 200]


async def test_an_app_mounted_in_fastapi_answers_below_its_prefix(app: App) -> None:
    host = FastAPI()

    @host.get("/own")
    async def own() -> str:
        return "fastapi"

    host.mount("/toque", app)

    async with uvicorn_serving(host) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        assert (await client.get("/own")).json() == "fastapi"
        assert (await client.get("/toque/hello/ana")).json() == "ana"
        assert (await client.post("/toque/dishes", json={"name": "soup"})).status_code == 201
        assert (await client.get("/toque/nowhere")).json()["code"] == "unknown_operation"


async def test_what_an_app_tells_of_its_own_paths_is_below_where_it_is_mounted(app: App) -> None:
    # Clients followed the Location, and called what the document describes, beside the mount.
    host = FastAPI()
    host.mount("/{branch}/our bistro", app)

    async with uvicorn_serving(host) as address, httpx.AsyncClient(base_url=f"http://{address}") as client:
        added = await client.post("/graz/our%20bistro/dishes", json={"name": "soup"})
        documents = [(await client.get(f"/{branch}/our%20bistro/openapi.json")).json() for branch in range(20)]

    assert added.headers["location"] == "/graz/our%20bistro/dishes/soup"
    assert [document["servers"] for document in documents] == [[{"url": f"/{n}/our%20bistro"}] for n in range(20)]


class Size(enum.Enum):
    SMALL = "a portion"


class Portion(msgspec.Struct):
    size: Size
    since: datetime
    is_hot: bool


async def test_a_location_says_what_a_path_parameter_reads() -> None:
    # `str` of a member was its name in Python, which the path of the same type refuses.
    app = App("demo", settings=Settings())

    @app.command("/portions", allow=public, status=201, location="/portions/{size}/{since}/{is_hot}")
    async def keep() -> Portion:
        return Portion(Size.SMALL, datetime(2026, 1, 2, tzinfo=UTC), is_hot=True)

    @app.query("/portions/{size}/{since}/{is_hot}", allow=public)
    async def look(size: Size, since: datetime, is_hot: bool) -> Portion:
        return Portion(size, since, is_hot)

    async with running(app) as harness:
        kept = await harness.post("/portions")
        found = await harness.get(kept.headers["location"])

    assert (found.status, found.json()) == (200, kept.json())


async def test_stopped_by_its_host_it_stops_once() -> None:
    life = Life()
    application = AsgiApplication(edge_of(hi), life.start, life.stop)

    await application.start()
    await application.stop()
    await application.stop()

    assert life.told == ["start", "stop"]
