"""`toque explain` of handlers, jobs, schedules and events."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from shell import Toque, process, write

BAKERY = """
from collections.abc import Mapping
from typing import Any

from toque import App, Event, Outbox, Retries, Steps, public

app = App("bakery")

class Ordered(Event):
    __type__ = "bakery.Ordered"
    __version__ = 3
    loaves: int
    note: str = "none"

    @classmethod
    def upcast(cls, version: int, data: dict[str, Any]) -> Mapping[str, Any]:
        return data

class Baked(Event):
    __version__ = 2
    loaves: int

app.sends(Baked)

@app.command(allow=public)
async def order(loaves: int, outbox: Outbox) -> None:
    outbox.publish(Ordered(loaves))

@app.on(Ordered, on_failure="skip", attempts_max=3)
async def bake(event: Ordered, outbox: Outbox) -> None:
    '''Bake what was ordered.'''
    outbox.publish(Baked(event.loaves))

app.queue("ovens", at_once=2, rate="10/1m")

@app.job(queue="ovens", priority=4, retries=Retries(pauses_s=(1, 60), by_error={KeyError: Retries(attempts_max=1)}))
async def heat(degrees: int, minutes: int = 5, *, steps: Steps) -> str:
    return "hot"

@app.every("1h", missed="all")
async def sweep() -> None: ...
"""


@pytest.fixture
def bakery(tmp_path: Path) -> Path:
    return write(tmp_path / "bakery", {"app.py": BAKERY})


def explained(toque: Toque, *words: str) -> list[tuple[str, str, str]]:
    said = toque("explain", *words, "--app", "bakery", "--format", "json")
    assert said.code == 0, said.err
    return [(row["what"], row["value"], row["from"]) for row in json.loads(said.out)]


def test_a_handler_says_what_starts_it_and_what_becomes_of_failures(toque: Toque, bakery: Path) -> None:
    rows = {what: value for what, value, _ in explained(toque, "bake")}

    assert rows["function"] == "Bake what was ordered"
    assert rows["event"] == "bakery.Ordered, version 3"
    assert rows["published by"] == "bakery.order"
    assert rows["consumer"] == "bakery.bake"
    assert rows["on failure"].startswith("skip: ")
    assert rows["tries"] == "3, then it is a dead letter"
    assert rows["publishes"] == "Baked"
    assert "deduplicate" in rows.values(), "its policies are there"


def test_a_job_says_when_it_is_tried_again(toque: Toque, bakery: Path) -> None:
    found = explained(toque, "bakery.heat")
    rows = {what: value for what, value, _ in found}

    assert rows["input degrees"] == "int, required"
    assert rows["input minutes"] == "int, default 5"
    assert rows["result"] == "str, kept 86400 s"
    assert rows["queue"] == "ovens, priority 4"
    assert (rows["queue, at once"], rows["queue, in a time"]) == ("2", "10/60s")
    assert "queue, of a key at once" not in rows
    assert rows["tries"] == "20, after 1, 60 s"
    assert rows["after KeyError"] == "1, then it is a dead letter"
    assert rows["steps"].startswith("durable")
    assert ("deadline", "300 s", "messages.job_deadline_s, default") in found


def test_a_schedule_says_its_next_moments(toque: Toque, bakery: Path) -> None:
    rows = {what: value for what, value, _ in explained(toque, "sweep")}

    assert rows["schedule"] == "every 3600 s"
    moments = rows["next"].split(", ")
    assert len(moments) == 3
    assert all(moment.endswith(":00:00") for moment in moments)
    assert rows["missed moments"] == "are all made up for"


def test_an_event_says_who_publishes_and_handles_it_and_which_versions_are_read(toque: Toque, bakery: Path) -> None:
    found = explained(toque, "Ordered")

    assert found == explained(toque, "bakery.Ordered")
    rows = {what: (value, source) for what, value, source in found}
    assert rows["type"] == ("bakery.Ordered", "bakery/app.py:9")
    assert rows["version"][0] == "3"
    assert rows["upcast"] == ("versions 1 to 2, by Ordered.upcast", "bakery/app.py:15")
    assert rows["field loaves"][0] == "int, required"
    assert rows["field note"][0] == "str, default 'none'"
    assert rows["published by"][0] == "bakery.order"
    assert rows["handled by"][0] == "bakery.bake"
    assert rows["webhooks"][0] == "never carry it out"


def test_an_event_says_where_else_it_goes(toque: Toque, bakery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOQUE_MESSAGES_BROKERS", "nats://ana:s3cret@queue.example:4222")
    monkeypatch.setenv("TOQUE_MESSAGES_TOPICS", "Baked")

    rows = {what: (value, source) for what, value, source in explained(toque, "Baked")}

    assert rows["upcast"] == ("version 1, read as written", "Baked has no upcast of its own")
    assert rows["handled by"][0] == "nobody here"
    assert rows["webhooks"][0] == "carry it out"
    assert rows["published to"][0] == rows["comes in from"][0] == "nats://queue.example:4222 as toque.Baked"


def test_what_is_nothing_is_said_with_the_nearest(toque: Toque, bakery: Path) -> None:
    said = toque("explain", "bakery.baek", "--app", "bakery")

    assert said.code == 2
    assert "did you mean bakery.bake" in said.err


def test_it_is_read_on_eighty_columns(toque: Toque, bakery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("bake", "heat", "sweep", "Ordered"):
        said = toque("explain", name, "--app", "bakery")
        assert said.code == 0
        assert max(map(len, said.out.splitlines())) <= 80


def test_a_misspelt_event_or_table_is_told_the_nearest(bakery: Path) -> None:
    model = """
    from sqlalchemy.orm import Mapped, mapped_column
    from toque import Database, Model

    class Loaf(Model, shared=True):
        id: Mapped[int] = mapped_column(primary_key=True)
    """
    write(bakery, {"app.py": BAKERY + textwrap.dedent(model)})

    assert "did you mean Baked" in process("explain", "Baket", cwd=bakery).err
    assert "did you mean loaf" in process("explain", "loafs", cwd=bakery).err
