"""A process that says it stops, and is slow to do so, is woken after it has stopped."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

from toque.testing.faults.history import History
from toque.testing.faults.node import Word
from toque.testing.faults.remote import Remote
from toque.testing.faults.scenario import Call

# It had been woken before it slept, and slept for ever with the lock of the database: seeds 6 and 7 of the till.
SLOW = """
import os, signal, time
print("I stop now", flush=True)
time.sleep(0.3)
os.kill(os.getpid(), signal.SIGSTOP)
print("awake", flush=True)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="it is seen in /proc")
async def test_it_is_woken_after_it_has_stopped(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SLOW, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    remote = Remote("n0", History(tmp_path / "history"), lambda life: None, lambda: None)
    remote._pid = process.pid
    try:
        await process.stdout.readline()
        remote._hear(Word(freezes_s=0.01))
        async with asyncio.timeout(10):
            assert await process.stdout.readline() == b"awake\n"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_who_is_asked_is_busy_until_it_has_answered_whoever_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that was frozen commits what it had begun when it wakes: seed 103435 of the kitchen was taken for settled."""
    monkeypatch.setattr("toque.testing.faults.remote.PATIENCE_S", 0.01)
    remote = Remote("n0", History(tmp_path / "history"), lambda life: None, lambda: None)
    connected: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_unix_server(lambda *ends: connected.put_nowait(ends), tmp_path / "socket")
    reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
    speaking = asyncio.create_task(remote.speak(0, *await connected.get()))
    await asyncio.sleep(0)
    remote._is_stopping = True

    assert await remote.ask(Call("o1", "kitchen.order", {})) is None
    assert await reader.readline()
    assert remote.is_busy
    writer.write(msgspec.json.encode(Word(number=1)) + b"\n")
    async with asyncio.timeout(10):
        while remote.is_busy:
            await asyncio.sleep(0.01)

    writer.close()
    await speaking
    server.close()
