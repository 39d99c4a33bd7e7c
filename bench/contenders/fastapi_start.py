"""FastAPI with two operations for each of BENCH_RESOURCES resources, types of their own, no models."""

import os
from typing import Annotated

from fastapi import FastAPI
from pydantic import BaseModel, Field

app = FastAPI()


def add_resource(name: str) -> None:
    class View(BaseModel):
        id: int
        name: str
        price_cents: int

    class New(BaseModel):
        name: Annotated[str, Field(min_length=1)]
        price_cents: int

    @app.get(f"/{name}/{{id}}")
    async def read(id: int) -> View:
        return View(id=id, name=name, price_cents=100)

    @app.post(f"/{name}")
    async def create(new: New) -> View:
        return View(id=1, name=new.name, price_cents=new.price_cents)


for number in range(int(os.environ["BENCH_RESOURCES"])):
    add_resource(f"resource{number}")
