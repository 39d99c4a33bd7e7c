"""An operation that raises CancelledError itself, though nobody cancelled it, fails as by any other error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from servers import granian_serving, uvicorn_serving
from websockets.asyncio.client import connect

from toque.app import App
from toque.contract.access import public


def shop() -> App:
    app = App("shop")

    @app.query("/raised", allow=public)
    async def raised() -> str:
        raise asyncio.CancelledError

    @app.query("/in-a-thread", allow=public)
    def in_a_thread() -> str:
        raise asyncio.CancelledError

    @app.query("/awaited", allow=public)
    async def awaited() -> str:
        work = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(work.cancel)
        await work
        return "done"

    @app.query("/streamed", allow=public)
    async def streamed() -> AsyncIterator[int]:
        raise asyncio.CancelledError
        yield 1

    return app


def on_granian(app: App) -> AbstractAsyncContextManager[str]:
    return granian_serving(app.serving.edge)


def on_uvicorn(app: App) -> AbstractAsyncContextManager[str]:
    return uvicorn_serving(app)


@pytest.fixture(params=[on_granian, on_uvicorn])
async def address(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    async with request.param(shop()) as address:
        yield address


OPERATIONS = ["raised", "in-a-thread", "awaited", "streamed"]


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_over_http_it_is_answered_by_the_problem(address: str, operation: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        reply = await client.get(f"/{operation}")

    assert reply.status_code == 500
    assert (reply.headers["content-type"], reply.json()["code"]) == ("application/problem+json", "internal")


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_over_json_rpc_it_is_answered_by_the_error(address: str, operation: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        reply = await client.post("/rpc", json=_call(operation))

    assert reply.json()["error"]["data"]["code"] == "internal"


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_over_a_websocket_it_is_answered_by_the_error(address: str, operation: str) -> None:
    async with connect(f"ws://{address}/ws") as socket:
        await socket.send(json.dumps(_call(operation)))
        async with asyncio.timeout(10):
            answer = json.loads(await socket.recv())

    assert answer["error"]["data"]["code"] == "internal"


def _call(operation: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": f"shop.{operation.replace('-', '_')}", "params": {}, "id": 1}
