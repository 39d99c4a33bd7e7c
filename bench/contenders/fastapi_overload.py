"""FastAPI with SQLAlchemy's async engine and work that takes a connection for 20 ms: one session a request, as the
tutorials have it, and ten connections. Nothing in either knows of tenants.
"""

import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

app = FastAPI()
engine = create_async_engine(
    os.environ["BENCH_SQLALCHEMY_URL"], pool_size=int(os.environ["BENCH_CONNECTIONS"]), max_overflow=0
)
new_session = async_sessionmaker(engine, expire_on_commit=False)

WORK = text("SELECT 1 FROM pg_sleep(0.02)")


async def session() -> AsyncIterator[AsyncSession]:
    async with new_session() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]


@app.get("/work")
@app.get("/tenants/work")
async def work(session: Session) -> int:
    return (await session.execute(WORK)).scalar_one()
