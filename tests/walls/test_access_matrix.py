"""The access matrix, on the example and on an app with holes that it must find."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import leaky_app
import pytest
from sqlalchemy import CheckConstraint, MetaData, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import toque.system.workshop
from toque import App, Database, File, Struct, authenticated, role
from toque.cli.target import load_app
from toque.store.models import NAMES, Conventions
from toque.testing import access_matrix

STAFF = [f"{who} with roles" for who in ("its owner", "another owner", "another tenant")]
LOOKS = ("read", "list", "count", "aggregate")

test_the_restaurant = access_matrix(
    load_app(str(Path(__file__).parents[2] / "examples" / "restaurant")),
    # One house: its staff sees and moves every order, and has no tenants.
    may={
        "order": [f"{action} by {who}" for action in (*LOOKS, "change") for who in STAFF],
        "order_item": [
            *(f"{action} by {who}" for action in LOOKS for who in STAFF),
            *(f"insert by {who}" for who in ("its owner", "another tenant", *STAFF)),
        ],
    },
)


def failures(test: Any) -> dict[str, str]:
    """What each case of *test* says, where it fails."""
    found = {}
    for case in test.pytestmark[0].args[1]:
        try:
            test(case)
        except AssertionError as error:
            found[case] = str(error)
    return found


def fresh_app() -> App:
    """An app with a document that is obligatory, and a CHECK that no type tells of."""

    class FreshModel(Conventions, DeclarativeBase):
        metadata = MetaData(naming_convention=NAMES)

    class Chart(FreshModel, owner="patient"):
        __table_args__ = (CheckConstraint("beats BETWEEN 20 AND 250", name="beats"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        patient: Mapped[str]
        beats: Mapped[int]
        allergies: Mapped[list[str]]

    app = App("fresh", metadata=FreshModel.metadata)

    @app.query("/beats", allow=authenticated)
    async def beats(db: Database) -> list[int]:
        return await db.all(int, select(Chart.beats))

    @app.command("/scans", allow=role("nurse"))
    async def add_scan(scan: Scan) -> None: ...

    @app.command("/strips", allow=role("nurse"))
    async def add_strip(strip: AsyncIterator[bytes]) -> None: ...

    @app.query("/picture", allow=role("nurse"), media_type="image/gif")
    async def picture() -> bytes:
        return b"GIF89a"

    return app


class Scan(Struct):
    title: str
    image: File


def test_what_only_http_carries_is_tried_over_http() -> None:
    found = failures(access_matrix(fresh_app(), rows={"chart": {"beats": 60}}))

    assert found == {}


def test_planted_holes_are_found_and_nothing_else() -> None:
    found = failures(access_matrix(leaky_app.app))

    assert found.keys() == {"leaky.list_all_letters", "rows of parcel"}
    shown = found["leaky.list_all_letters"]
    for transport in ("HTTP", "ASGI", "JSON-RPC", "WebSocket"):
        assert f"role reader over {transport} is shown a row" in shown
    holes = found["rows of parcel"]
    for action in ("read", "list", "count", "aggregate"):
        for who in ("another owner", "nobody"):
            assert f"{action} by {who} is let through" in holes
    assert "delete by another owner is let through" in holes
    assert "delete by nobody" not in holes
    assert "insert by another" not in holes
    assert "change" not in holes


def test_what_is_declared_is_no_hole() -> None:
    who = ("another owner", "nobody", "another tenant")
    may = {f"{action} by {one}" for action in ("read", "list", "count", "aggregate", "delete") for one in who}
    test = access_matrix(leaky_app.app, may={leaky_app.Parcel: may}, shows={"leaky.list_all_letters"})

    assert failures(test) == {}


def test_a_row_that_cannot_be_made_is_said_with_what_to_say() -> None:
    app = fresh_app()

    for found in failures(access_matrix(app)).values():
        assert "no row of chart can be made: The change breaks the rule" in found
        assert "access_matrix(app, rows={'chart': {...}})" in found
    assert failures(access_matrix(app, rows={"chart": {"beats": 60}})) == {}


@pytest.mark.parametrize("transport_sees", ["unauthenticated", "forbidden"])
def test_an_app_whose_rules_are_not_enforced_is_found(monkeypatch: pytest.MonkeyPatch, transport_sees: str) -> None:
    monkeypatch.setattr(toque.system.workshop, "authorise", lambda call, *_: call)
    found = failures(access_matrix(leaky_app.app))

    assert {"leaky.list_letters", "leaky.write_letter", "leaky.send_letters"} <= found.keys()
    assert f"the rule says {transport_sees}" in found["leaky.list_letters"]
