"""FastAPI with answers kept in Redis as bytes: on a hit nothing is validated or encoded again.

BENCH_SQLALCHEMY_URL is the database, BENCH_REDIS_URL the cache.
"""

import os

from fastapi import FastAPI, Response
from fastapi_database import World, WorldView, new_session
from redis.asyncio import Redis

app = FastAPI()
redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])

TTL_S = 60


@app.get("/world/{id}", response_model=WorldView)
async def world(id: int):
    key = f"world:{id}"
    body = await redis.get(key)
    if body is None:
        async with new_session() as session:
            body = WorldView.model_validate(await session.get_one(World, id)).model_dump_json().encode()
        await redis.set(key, body, ex=TTL_S)
    return Response(body, media_type="application/json")
