"""Bodies that were made to do harm: each has its defined answer, and leaves nothing behind."""

from __future__ import annotations

import pytest
from bodies_of_enemies import Enemy, enemies
from running import Served
from wire import ask, post

pytestmark = pytest.mark.xdist_group("served")

MIB = 2**20
STATUS = {"malformed": 400, "too_large": 413, "unsupported_media_type": 415, "invalid": 422}
GROWN_MAX = 100 * MIB
"""What a worker may grow by, whatever it was sent: a hundred bodies of the largest size."""


@pytest.fixture(scope="module")
def grown(kitchen: Served) -> object:
    """How far the worker has grown since these tests began."""
    ask(kitchen.port, post("/tickets", b'{"table":1}'))
    before = kitchen.rss_bytes()
    return lambda: kitchen.rss_bytes() - before


@pytest.mark.parametrize("enemy", list(enemies()), ids=lambda enemy: enemy.name)
def test_a_hostile_body_has_its_defined_answer(kitchen: Served, grown: object, enemy: Enemy) -> None:
    workers, problems = kitchen.workers(), len(kitchen.problems_in_log())
    fields = [f"Content-Encoding: {enemy.coding}"] if enemy.coding else []

    reply = ask(kitchen.port, post(enemy.path, enemy.body, *fields, content_type=enemy.content_type))

    assert reply is not None
    if enemy.code:
        assert (reply.status, reply.code) == (STATUS[enemy.code], enemy.code)
        assert len(reply.body) < 16_384
    else:
        assert reply.status == 200
    assert kitchen.workers() == workers
    assert kitchen.problems_in_log()[problems:] == []
    assert grown() < GROWN_MAX  # type: ignore[operator]
