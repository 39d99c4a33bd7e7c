"""A FastAPI app as its tutorial writes it: a `def` dependency that takes a connection, and a `def` endpoint.

SQLAlchemy's pool and Starlette's threads have the sizes they come with: 15 connections, 40 threads.
"""

import os
import time
from collections.abc import Iterator
from typing import Annotated, Any

import anyio.to_thread
from fastapi import Depends, FastAPI
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import QueuePool

app = FastAPI()
engine = create_engine(f"sqlite:///{os.environ['DATABASE_FILE']}", poolclass=QueuePool)


def connection() -> Iterator[Connection]:
    with engine.connect() as opened:
        yield opened


@app.get("/one")
def one(opened: Annotated[Connection, Depends(connection)]) -> int:
    found: int = opened.execute(text("SELECT 1")).scalar_one()
    time.sleep(0.2)  # The statement is a slower one.
    return found


@app.get("/look")
async def look() -> dict[str, Any]:
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    threads = anyio.to_thread.current_default_thread_limiter().statistics()
    return {
        "connections": pool.checkedout(),
        "threads": threads.borrowed_tokens,
        "waiting_for_threads": threads.tasks_waiting,
    }
