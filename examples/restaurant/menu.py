"""The menu: what guests read, and what waiters order from."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import select

from restaurant.models import Course, Dish, Station
from toque import Database, Module, Struct, public

# Both modules bear the app's name, so that callers say `restaurant.show_menu` and need not know the files.
menu = Module("restaurant", tags=["menu"])


class DishView(Struct):
    id: int
    name: str
    description: str
    price: Decimal
    station: Station
    is_vegetarian: bool


class CourseView(Struct):
    name: str
    dishes: list[DishView]


class Menu(Struct):
    courses: list[CourseView]


@menu.query("/menu", allow=public, page="menu.html")
async def show_menu(db: Database) -> Menu:
    """Show the menu, course by course."""
    return Menu(await db.all(CourseView, select(Course).order_by(Course.id)))


@menu.query("/dishes", allow=public)
async def list_dishes(db: Database, station: Station | None = None) -> list[DishView]:
    """List all dishes, or those of one station; flat, so a spreadsheet reads them as CSV."""
    dishes = select(Dish).order_by(Dish.id)
    return await db.all(DishView, dishes if station is None else dishes.where(Dish.station == station))
