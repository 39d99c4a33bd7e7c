"""FastAPI with pydantic return types, so that pydantic's Rust core writes the JSON: its documented fast way.

Served by: uvicorn --loop uvloop --http httptools --no-access-log
"""

from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

app = FastAPI()


class Greeting(BaseModel):
    message: str


class Item(BaseModel):
    id: int
    page: int
    size: int
    tag: str


class Line(BaseModel):
    sku: str
    quantity: Annotated[int, Field(ge=1)]
    price_cents: int
    note: str


class Order(BaseModel):
    id: int
    customer: Annotated[str, Field(min_length=1)]
    email: str
    tags: list[str]
    lines: list[Line]


@app.get("/hello")
async def hello() -> Greeting:
    return Greeting(message="Hello, World!")


@app.get("/items/{id}")
async def item(id: int, page: Annotated[int, Query(ge=1)], size: int, tag: str) -> Item:
    return Item(id=id, page=page, size=size, tag=tag)


@app.post("/orders")
async def echo(order: Order) -> Order:
    return order
