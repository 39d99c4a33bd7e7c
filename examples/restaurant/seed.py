"""The restaurant on its first morning: a menu and tables, no order yet."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import insert, select

from restaurant.models import TABLES, Course, Dish, Station, Table
from toque import Database, Struct

GRILL, COLD, PASTRY, BAR = Station.GRILL, Station.COLD, Station.PASTRY, Station.BAR


class Plate(NamedTuple):
    name: str
    description: str
    price: str
    station: Station
    is_vegetarian: bool = False


SEATS = [2] * 6 + [4] * 10 + [8] * 4
"""Of each table; the first has number 1."""

MENU = {
    "To begin": [
        Plate("Onion soup", "Slow-cooked onions, beef broth, gruyère crouton", "9.50", GRILL),
        Plate("Leeks vinaigrette", "Warm leeks, mustard dressing, chopped egg, chives", "9.00", COLD, True),
        Plate("Six oysters", "Fines de claire no. 3, shallot vinegar, rye bread", "18.00", COLD),
        Plate(
            "Beetroot and goat's cheese",
            "Salt-baked beetroot, fresh goat's cheese, walnuts",
            "10.50",
            COLD,
            True,
        ),
        Plate("Pâté en croûte", "Pork and duck in pastry, pistachio, pickled cherries", "12.00", PASTRY),
    ],
    "From the grill": [
        Plate("Steak frites", "Hanger steak, hand-cut chips, béarnaise", "24.50", GRILL),
        Plate("Half a roast chicken", "Thyme and garlic, roasting juices, watercress", "21.00", GRILL),
        Plate("Sea bream", "Grilled whole, fennel, lemon and olive oil", "26.00", GRILL),
        Plate("Sausage and lentils", "Toulouse sausage, green lentils from Le Puy", "18.50", GRILL),
        Plate("Charred hispi cabbage", "Brown butter, hazelnuts, aged comté", "17.00", GRILL, True),
    ],
    "From the cold kitchen": [
        Plate("Steak tartare", "Cut by hand, capers, cornichons, egg yolk", "19.50", COLD),
        Plate("Salade niçoise", "Tuna, green beans, egg, olives, anchovy", "16.50", COLD),
        Plate("Cheese from the trolley", "Three cheeses, quince, oat biscuits", "13.00", COLD, True),
    ],
    "To end": [
        Plate("Crème brûlée", "Bourbon vanilla under burnt sugar", "8.50", PASTRY, True),
        Plate("Apple tarte tatin", "Served warm with crème fraîche", "9.00", PASTRY, True),
        Plate("Chocolate mousse", "Dark chocolate, sea salt, one spoon for each of you", "8.00", PASTRY, True),
        Plate("Madeleines", "Six, baked when you order them: ten minutes", "7.00", PASTRY, True),
    ],
    "To drink": [
        Plate("House red, a glass", "Côtes du Rhône, 15 cl", "6.50", BAR, True),
        Plate("House white, a glass", "Picpoul de Pinet, 15 cl", "6.00", BAR, True),
        Plate("Cider", "Dry, from Normandy, 33 cl", "5.50", BAR, True),
        Plate("Verbena lemonade", "Made here every morning, 40 cl", "4.50", BAR, True),
        Plate("Coffee", "An espresso, with a small biscuit", "2.80", BAR, True),
    ],
}
"""Plates by course, both in the order in which they are printed."""


class Named(Struct):
    id: int
    name: str


async def seed(db: Database) -> None:
    """Write the menu and lay the tables."""
    tables = zip(range(1, TABLES + 1), SEATS, strict=True)
    await db.execute(insert(Table), [{"number": number, "seats": seats} for number, seats in tables])
    await db.execute(insert(Course), [{"name": name} for name in MENU])
    courses = await db.all(Named, select(Course).order_by(Course.id))
    dishes = [
        {**plate._asdict(), "price": Decimal(plate.price), "course_id": course.id}
        for course in courses
        for plate in MENU[course.name]
    ]
    await db.execute(insert(Dish), dishes)
