"""A process that says it stops, and is slow to do so, is woken after it has stopped."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from toque.testing.faults.history import History
from toque.testing.faults.node import Word
from toque.testing.faults.remote import Remote

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
