"""An error into which an app put what no format carries is still that error, on every way in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest
from servers import granian_serving
from websockets.asyncio.client import connect

from toque import App, Conflict, Error, Fault, Invalid, public

UNWRITABLE: dict[str, Error] = {
    "words": Conflict("the file \udcff is there already"),
    "members": Conflict("it is taken", by=object(), dish=4),
    "faults": Invalid("no such file", faults=[Fault("$.name", "there is no \udcff")]),
}


def shop() -> App:
    app = App("shop")

    @app.query("/refused/{how}", allow=public, errors=[Conflict])
    async def refused(how: str) -> str:
        raise UNWRITABLE[how]

    return app


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with granian_serving(shop().serving.edge) as address:
        yield address


def _call(how: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": "shop.refused", "params": {"how": how}}


@pytest.mark.parametrize("how", UNWRITABLE)
async def test_it_is_answered_over_http(address: str, how: str) -> None:
    """The connection's own 500, without a word, was what came."""
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        reply = await client.get(f"/refused/{how}")
        packed = await client.get(f"/refused/{how}", headers={"accept": "application/msgpack"})
        called = await client.post("/rpc", json=_call(how))

    code = UNWRITABLE[how].code
    assert reply.json()["code"] == msgspec.msgpack.decode(packed.content)["code"] == code
    assert reply.json()["detail"] == UNWRITABLE[how].detail.replace("\udcff", "?")
    assert called.json()["error"]["data"]["code"] == code


@pytest.mark.parametrize("how", UNWRITABLE)
async def test_it_is_answered_over_a_websocket(address: str, how: str) -> None:
    """Nothing came at all, and the caller waited for ever."""
    async with connect(f"ws://{address}/ws", proxy=None) as socket:
        await socket.send(json.dumps(_call(how)))
        async with asyncio.timeout(20):
            answer = json.loads(await socket.recv())

    assert answer["error"]["data"]["code"] == UNWRITABLE[how].code
