"""`toque webhooks`: an endpoint's life from the shell, against a real receiver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from shell import Toque, write
from standardwebhooks import Webhook

from receiver import Receiver, answer

APP = """
from toque import App, Event, Outbox, public

class OrderPlaced(Event):
    table: int

app = App("shop")
app.sends(OrderPlaced)

@app.command(allow=public)
async def place(table: int, outbox: Outbox) -> None:
    outbox.publish(OrderPlaced(table))
"""


@pytest.fixture
def hook() -> Iterator[Receiver]:
    """A receiver in a thread of its own: each command has an event loop that ends with it."""
    receiver = Receiver([answer(200, b"thanks"), answer(500, b"broken")])
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(receiver.serve, "127.0.0.1", 0))
    receiver.port = server.sockets[0].getsockname()[1]
    thread = Thread(target=loop.run_forever)
    thread.start()
    yield receiver
    server.close()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()


@pytest.fixture
def shop(toque: Toque, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write(tmp_path, {"app.py": APP})
    monkeypatch.setenv("TOQUE_DATABASE_URL", database_url)
    monkeypatch.setenv("TOQUE_HTTP_CLIENT_ALLOW", "127.0.0.1:*")
    assert toque("call", "place", "table=1").code == 0
    return folder


def test_an_endpoints_life(toque: Toque, shop: Path, hook: Receiver) -> None:
    added = toque("webhooks", "add", hook.url("/in"), "--type", "OrderPlaced")
    id, key = added.out.split()[0], added.out.split("key: ")[1].strip()
    tested = toque("webhooks", "test", id)
    failed = toque("webhooks", "test", id)
    rotated = toque("webhooks", "rotate", id)
    disabled = toque("webhooks", "disable", id, "--reason", "on holiday")
    listed = toque("webhooks", "list")
    (one,) = json.loads(toque("webhooks", "list", "--format", "json").out)
    acts = [toque("webhooks", act, id) for act in ("enable", "retry", "remove")]

    assert [said.code for said in (added, tested, rotated, disabled, listed, *acts)] == [0] * 8
    assert tested.out == "delivered with status 200: thanks\n"
    assert (failed.code, failed.out) == (1, "failed with status 500: broken\n")
    Webhook(key).verify(hook.requests[0].body, hook.requests[0].headers)
    assert key not in rotated.out
    assert "key" not in one
    assert (one["id"], one["state"], one["reason"]) == (id, "disabled", "on holiday")
    assert "on holiday" in " ".join(listed.out.split())
    assert json.loads(toque("webhooks", "list", "--format", "json").out) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("rotate", "ep_1"), "no webhook endpoint 'ep_1'"),
        (("add", "https://x.example", "--type", "OrderPlacd"), "did you mean 'OrderPlaced'?"),
        (("add", "ftp://x.example"), "https://"),
        (("add", "https://10.0.0.1/in"), "http_client.allow"),
    ],
)
def test_what_cannot_be_done_says_why(toque: Toque, shop: Path, words: tuple[str, ...], told: str) -> None:
    said = toque("webhooks", *words)

    assert (said.code, "Traceback" in said.err) == (1, False)
    assert told in said.err


def test_a_database_without_the_tables_is_told_so(
    toque: Toque, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"app.py": APP})
    monkeypatch.setenv("TOQUE_DATABASE_URL", f"sqlite:///{tmp_path / 'empty.db'}")

    said = toque("webhooks", "list")

    assert said.code == 1
    assert "toque db upgrade" in said.err
