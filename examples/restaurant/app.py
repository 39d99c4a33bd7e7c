"""The restaurant: its modules, its pages, and how its people sign in."""

from __future__ import annotations

from typing import Annotated, Literal

from sqlalchemy import select

from restaurant.kitchen import kitchen
from restaurant.menu import CourseView, menu, show_menu
from restaurant.models import Station, Table
from restaurant.orders import orders
from restaurant.seed import seed
from toque import App, Database, DevelopmentTokens, Meta, Struct, public

app = App("restaurant", modules=[menu, orders, kitchen], description="Menu, tables and orders of a small bistro.")
app.static("/assets", "assets")
app.seed(seed)

SHIFT_S = 8 * 3600
"""How long signing in lasts: one shift."""


class TableView(Struct):
    number: int
    seats: int


class Floor(Struct):
    tables: list[TableView]
    courses: list[CourseView]


class Kitchen(Struct):
    stations: list[Station]


class Token(Struct):
    token: str


@app.query("/", allow=public, page="home.html")
async def home() -> None:
    """Show the way in."""


@app.query("/waiter", allow=public, page="waiter.html")
async def show_floor(db: Database) -> Floor:
    """Show a waiter's page: the tables, and the menu to order from."""
    tables = await db.all(TableView, select(Table).order_by(Table.number))
    return Floor(tables, (await show_menu(db)).courses)


@app.query("/kitchen", allow=public, page="kitchen.html")
async def show_kitchen() -> Kitchen:
    """Show the kitchen's page, whose orders come when a cook has signed in."""
    return Kitchen(list(Station))


@app.command("/sign-in", allow=public)
async def sign_in(
    name: Annotated[str, Meta(min_length=1, max_length=40)],
    role: Literal["waiter", "cook"],
    tokens: DevelopmentTokens,
) -> Token:
    """Give whoever asks a token, in development; elsewhere an identity provider does that."""
    return Token(tokens.mint(name, roles=[role], lifetime_s=SHIFT_S))
