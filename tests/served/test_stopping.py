"""Stopping fails nobody: whoever was let in is answered, and the process ends in time and with 0."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from running import GIVE_UP_S, Served, is_running, serving, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from wire import Wire, get

from toque.transports.server import CRASHES_MAX

pytestmark = pytest.mark.xdist_group("stopping")

CLIENTS = 20
DRAIN_S = 25


@contextmanager
def kitchen(folder: Path, workers: int = 1) -> Iterator[Served]:
    with serving("kitchen", folder, "--workers", str(workers)) as served:
        until(lambda: len(served.workers()) == workers, f"{workers} workers")
        yield served


async def _load(served: Served, outcomes: Counter[str], sign: asyncio.Event) -> None:
    """One client who keeps its connection, and asks until nobody listens any more."""
    async with httpx.AsyncClient(base_url=served.url, timeout=GIVE_UP_S) as client:
        while True:
            try:
                reply = await client.post("/tickets", json={"table": 1})
            except httpx.ConnectError:
                # Nobody listens: nothing was sent, so nothing has failed.
                return
            except httpx.HTTPError as error:
                outcomes[type(error).__name__] += 1
                return
            outcomes[str(reply.status_code)] += 1
            if outcomes["200"] > CLIENTS * 5:
                sign.set()


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 1), (signal.SIGTERM, 2), (signal.SIGINT, 1)])
async def test_no_request_fails_while_the_server_stops_under_load(tmp_path: Path, number: int, workers: int) -> None:
    with kitchen(tmp_path, workers) as served:
        outcomes, is_busy = Counter[str](), asyncio.Event()
        clients = [asyncio.create_task(_load(served, outcomes, is_busy)) for _ in range(CLIENTS)]
        await is_busy.wait()

        served.signal(number)
        await asyncio.wait_for(asyncio.gather(*clients), GIVE_UP_S)

        assert await asyncio.to_thread(served.wait) == 0
        assert set(outcomes) == {"200"}
        assert served.problems_in_log() == []


async def test_a_call_under_way_is_answered_before_the_server_ends(tmp_path: Path) -> None:
    with kitchen(tmp_path) as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=GIVE_UP_S) as client:
            slow = asyncio.create_task(client.get("/wait?ms=3000&tag=slow"))
            await asyncio.to_thread(served.wait_for_event, "slow began")
            served.signal(signal.SIGTERM)
            reply = await slow

        assert reply.json() == {"text": "slow"}
        assert await asyncio.to_thread(served.wait) == 0


async def test_a_stream_under_way_is_sent_whole(tmp_path: Path) -> None:
    with kitchen(tmp_path) as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=GIVE_UP_S) as client:
            stream = asyncio.create_task(client.get("/stream?chunks=30&size=10000&pause_ms=100&tag=stream"))
            await asyncio.to_thread(served.wait_for_event, "stream chunk 1")
            served.signal(signal.SIGTERM)
            reply = await stream

        assert len(reply.content) == 300_000
        assert await asyncio.to_thread(served.wait) == 0


async def test_readiness_says_no_before_anything_closes(tmp_path: Path) -> None:
    with kitchen(tmp_path) as served:
        served.signal(signal.SIGTERM)
        seen = []
        async with httpx.AsyncClient(base_url=served.url, timeout=GIVE_UP_S) as client:
            while not seen or seen[-1].status_code == 200:
                seen.append(await client.get("/readyz"))

        assert seen[-1].json() == {"status": "stopping"}
        assert seen[-1].headers["connection"] == "close"


async def test_calls_on_sockets_are_answered_and_then_the_sockets_close(tmp_path: Path) -> None:
    with kitchen(tmp_path) as served:
        sockets = [await connect(f"ws://127.0.0.1:{served.port}/ws") for _ in range(CLIENTS)]
        call = {"jsonrpc": "2.0", "id": 1, "method": "kitchen.wait", "params": {"ms": 2000, "tag": "socket"}}
        for socket in sockets:
            await socket.send(json.dumps(call))
        await asyncio.to_thread(served.wait_for_event, "socket began")

        served.signal(signal.SIGTERM)
        answers = [json.loads(await asyncio.wait_for(socket.recv(), GIVE_UP_S)) for socket in sockets]

        assert [answer["result"] for answer in answers] == [{"text": "socket"}] * CLIENTS
        for socket in sockets:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), GIVE_UP_S)
        assert await asyncio.to_thread(served.wait) == 0


async def test_silent_and_idle_clients_do_not_hold_the_server_up(tmp_path: Path) -> None:
    with serving("kitchen", tmp_path, settings={"http.header_timeout_s": 3}) as served:
        silent = [Wire(served.port) for _ in range(50)]
        idle = [Wire(served.port).send(get("/hello")) for _ in range(50)]
        half = [Wire(served.port).send(get("/hello")[:-2]) for _ in range(50)]
        sockets = [await connect(f"ws://127.0.0.1:{served.port}/ws") for _ in range(10)]
        assert all(wire.reply() for wire in idle)

        began = time.monotonic()
        served.signal(signal.SIGTERM)

        assert await asyncio.to_thread(served.wait) == 0
        assert time.monotonic() - began < DRAIN_S
        for wire in [*silent, *idle, *half]:
            wire.close()
        for socket in sockets:
            await socket.close()


def test_http2_calls_under_way_are_answered(tmp_path: Path) -> None:
    """By curl: the h2 library, and so httpx, takes a farewell (GOAWAY) for the end of everything."""
    with kitchen(tmp_path) as served:
        one = ["-o", str(tmp_path / "answer"), f"{served.url}/wait?ms=2000&tag=h2"]
        words = [
            "curl",
            "-s",
            "--http2-prior-knowledge",
            "--parallel",
            "--parallel-immediate",
            "-w",
            "%{http_code}\n",
        ]
        with subprocess.Popen([*words, *one * 10], stdout=subprocess.PIPE, text=True) as client:
            served.wait_for_event("h2 began")
            served.signal(signal.SIGTERM)
            out, _ = client.communicate(timeout=GIVE_UP_S)

        assert out.split() == ["200"] * 10
        assert served.wait() == 0


def test_what_does_not_end_is_ended_after_the_drain_time(tmp_path: Path) -> None:
    with serving("kitchen", tmp_path, settings={"http.drain_s": 2}) as served, Wire(served.port) as wire:
        wire.send(get("/block?ms=60000&tag=stuck"))
        served.wait_for_event("stuck began")
        began = time.monotonic()
        served.signal(signal.SIGTERM)
        served.wait()

        assert time.monotonic() - began < DRAIN_S


def test_a_second_signal_changes_nothing_for_those_who_wait(tmp_path: Path) -> None:
    with kitchen(tmp_path) as served, Wire(served.port) as wire:
        wire.send(get("/wait?ms=2000&tag=twice"))
        served.wait_for_event("twice began")
        served.signal(signal.SIGTERM)
        time.sleep(0.3)
        served.signal(signal.SIGTERM)
        reply = wire.reply()

        assert reply is not None
        assert reply.status == 200
        assert served.wait() == 0


def test_ctrl_c_in_a_terminal_reaches_the_workers_too_and_still_fails_nobody(tmp_path: Path) -> None:
    """A terminal sends SIGINT to every process of the foreground group at once."""
    with kitchen(tmp_path, 2) as served, Wire(served.port) as wire:
        wire.send(get("/wait?ms=1500&tag=ctrl-c"))
        time.sleep(0.3)
        for pid in [served.pid, *served.workers()]:
            os.kill(pid, signal.SIGINT)
        reply = wire.reply()

        assert reply is not None
        assert reply.status == 200
        assert served.wait() == 0


@pytest.mark.parametrize("delay_s", [0, 0.05, 0.06, 0.07, 0.08, 0.1, 0.2])
def test_a_server_that_is_stopped_while_it_starts_ends(tmp_path: Path, delay_s: float) -> None:
    """A worker that has only begun once lost the signal, and was waited for until it was killed."""
    settings = {"http.drain_s": GIVE_UP_S * 2}
    with serving("kitchen", tmp_path, "--workers", "2", settings=settings, is_awaited=False) as served:
        time.sleep(delay_s)
        served.signal(signal.SIGTERM)

        assert served.wait() == 0
        assert served.workers() == []


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(tmp_path: Path) -> None:
    with kitchen(tmp_path, 2) as served:
        first, second = served.workers()
        os.kill(first, signal.SIGKILL)
        until(lambda: len(served.workers()) == 2 and first not in served.workers(), "another worker")

        assert second in served.workers()
        assert "worker 1 was ended by SIGKILL" in served.log() or "worker 2 was ended by SIGKILL" in served.log()
        assert all(httpx.get(f"{served.url}/hello").status_code == 200 for _ in range(20))


def test_a_server_whose_workers_end_soon_again_and_again_ends_with_1(tmp_path: Path) -> None:
    with kitchen(tmp_path) as served:

        def is_over() -> bool:
            for worker in served.workers():
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            return served.process.poll() is not None

        until(is_over, "its end")

        assert served.wait() == 1
        assert served.log().count("was ended by SIGKILL; another takes its place") >= CRASHES_MAX
        assert "SIGKILL; the server stops" in served.log()


def test_a_server_whose_job_ends_its_process_goes_on(tmp_path: Path) -> None:
    """The second worker that a job ended, within a second of its start, was taken for one that cannot start."""
    with serving("crashing", tmp_path) as served:
        assert httpx.post(f"{served.url}/crash", timeout=GIVE_UP_S).status_code == 204
        until(lambda: "1 are put aside" in served.log(), "the end of the job")
        until(served.answers, "another worker")

        assert served.log().count("another takes its place") == 3


def test_a_worker_does_not_outlive_its_server(tmp_path: Path) -> None:
    with kitchen(tmp_path) as served:
        workers = served.workers()
        served.signal(signal.SIGKILL)
        served.wait()

        until(lambda: not any(is_running(pid) for pid in workers), "the worker to end")
