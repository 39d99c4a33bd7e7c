"""What a browser is told that asks before it sends: the headers that mean something, those of operations too."""

from __future__ import annotations

from typing import Annotated

from toque import App, Header, public
from toque.settings import Http, Settings
from toque.testing import running

SHOP = "https://shop.example"

app = App("desk")


@app.query("/orders", allow=public)
async def orders(station: Annotated[str, Header("X-Station")]) -> str:
    return station


async def test_a_page_may_send_the_headers_that_are_inputs() -> None:
    """A browser sends none that a preflight does not name, so such an operation could not be called by a page."""
    asks = {"access-control-request-method": "GET", "access-control-request-headers": "x-station"}
    async with running(app, settings=Settings(http=Http(cors_origins=(SHOP,)))) as desk:
        told = await desk.request("OPTIONS", "/orders", headers={"origin": SHOP, **asks})
        foreign = await desk.request("OPTIONS", "/orders", headers={"origin": "https://other.example", **asks})

    allowed = told.headers.get("access-control-allow-headers").split(", ")
    assert {"x-station", "content-type", "if-match", "x-priority"} <= set(allowed)
    assert foreign.headers.get("access-control-allow-headers") is None
