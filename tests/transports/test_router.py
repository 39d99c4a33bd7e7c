"""From a path to what answers there."""

from __future__ import annotations

import pytest

from toque.contract.errors import UnknownOperation
from toque.transports import router as module
from toque.transports.router import Router


def test_a_literal_segment_wins_over_a_parameter_and_that_over_the_rest() -> None:
    router = Router()
    for template in ("/orders/{id}", "/orders/open", "/orders/{*}", "/orders/{id}/lines/{line}"):
        router.route(template)

    found = {path: router.find(path) for path in ("/orders/open", "/orders/7", "/orders/7/x", "/orders/7/lines/2")}

    assert {path: (route.template, segments) for path, (route, segments) in found.items()} == {
        "/orders/open": ("/orders/open", ()),
        "/orders/7": ("/orders/{id}", ("7",)),
        "/orders/7/x": ("/orders/{*}", ("7/x",)),
        "/orders/7/lines/2": ("/orders/{id}/lines/{line}", ("7", "2")),
    }


def test_a_path_that_is_known_by_heart_leads_where_it_led(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MAX", 3)
    router = Router()
    literal, template = router.route("/orders"), router.route("/orders/{id}")
    for number in range(10):
        router.remember(f"/orders/{number}")

        assert router.known[f"/orders/{number}"] == (template, (str(number),))
        assert router.known["/orders"] == (literal, ())
        assert len(router.known) <= 4
    assert router.find("/orders/0") == (template, ("0",))
    with pytest.raises(UnknownOperation):
        router.find("/orders/")
