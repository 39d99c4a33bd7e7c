"""Toque with two operations for each of BENCH_RESOURCES resources, types of their own, no models."""

import os
from typing import Annotated

from toque import App, Meta, Struct, public

app = App("bench")


def add_resource(name: str) -> None:
    class View(Struct):
        id: int
        name: str
        price_cents: int

    class New(Struct):
        name: Annotated[str, Meta(min_length=1)]
        price_cents: int

    @app.query(f"/{name}/{{id}}", allow=public, name=f"read_{name}")
    async def read(id: int) -> View:
        return View(id, name, 100)

    @app.command(f"/{name}", allow=public, name=f"create_{name}")
    async def create(new: New) -> View:
        return View(1, new.name, new.price_cents)


for number in range(int(os.environ["BENCH_RESOURCES"])):
    add_resource(f"resource{number}")
