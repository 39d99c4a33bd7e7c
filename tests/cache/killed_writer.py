"""A process of the shop that is killed after its commit, and before it has told anybody of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from live_shop import app
from toque.settings import Database, Secret, Settings
from toque.testing import Harness


async def main(url: str) -> None:
    serving = app.serve(Settings(database=Database(url=Secret(url))))
    await serving.start()
    store = serving.system.store
    assert store is not None
    store.on_commit.insert(0, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    await Harness(serving).call("shop.fill", shelf=1, content="plums")


asyncio.run(main(sys.argv[1]))
