"""Wrong events, handlers and jobs keep an app from starting, each with a remedy."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Struct

from toque import App, Event, Jobs, Module, Outbox, Retries, public
from toque.contract.complaints import Complaint, SetupError


class Rung(Event):
    number: int


def complaints_of(app: App) -> list[Complaint]:
    with pytest.raises(SetupError) as caught:
        app.serve()
    return list(caught.value.complaints)


def only(app: App) -> Complaint:
    (complaint,) = complaints_of(app)
    assert complaint.remedy, "each has a remedy"
    return complaint


@pytest.mark.parametrize(
    ("options", "problem", "remedy"),
    [
        ({"on_failure": "parck"}, "on_failure='parck' is none", "did you mean 'park'?"),
        ({"on_failure": "explode"}, "on_failure='explode' is none", "choose 'park'"),
        ({"attempts_max": 0}, "it is tried 0 times (attempts_max)", "1 or more"),
        ({"attempts_max": "3"}, "it is tried '3' times (attempts_max)", "1 or more"),
        ({"deadline_s": 0}, "deadline_s is 0", "more than nothing"),
        ({"deadline_s": "5s"}, "deadline_s is '5s'", "more than nothing"),
    ],
)
def test_a_handlers_options_are_checked(options: dict[str, Any], problem: str, remedy: str) -> None:
    app = App("bells")

    @app.on(Rung, **options)
    async def hear(event: Rung) -> None: ...

    found = only(app)
    assert (found.subject, found.problem) == ("bells.hear", problem)
    assert remedy in found.remedy
    assert found.where.startswith(__file__)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"retries": 0}, "it is tried 0 times (retries.attempts_max)"),
        ({"retries": "often"}, "retries='often' is none"),
        ({"retries": Retries(first_s=-1)}, "retries.first_s is -1"),
        ({"retries": Retries(first_s=60, longest_s=5)}, "retries.first_s is 60, and no pause is longer than 5 s"),
        ({"retries": Retries(pauses_s=(1, -5))}, "retries.pauses_s is (1, -5)"),
        ({"retries": Retries(by_error={"KeyError": Retries()})},  # type: ignore[dict-item]
         "retries.by_error has 'KeyError', which is no class of errors"),
        ({"retries": Retries(by_error={KeyError: Retries(attempts_max=0)})},
         "it is tried 0 times (retries.by_error[KeyError].attempts_max)"),
        ({"retries": Retries(by_error={KeyError: Retries(by_error={OSError: Retries()})})},
         "retries.by_error[KeyError] has errors of its own, which nobody asks for"),
        ({"queue": ""}, "queue='' is no queue's name"),
        ({"queue": 7}, "queue=7 is no queue's name"),
        ({"priority": 40_000}, "priority=40000 cannot be kept"),
        ({"keep_result_s": -1}, "keep_result_s=-1 is no time"),
    ],
    ids=str,
)  # fmt: skip
def test_a_jobs_options_are_checked(options: dict[str, Any], problem: str) -> None:
    app = App("post")

    @app.job(**options)
    async def send() -> None: ...

    found = only(app)
    assert (found.subject, found.problem) == ("post.send", problem)


def test_two_consumers_of_one_name_are_refused() -> None:
    app = App("bells")

    @app.on(Rung, name="hear")
    async def one(event: Rung) -> None: ...

    @app.on(Rung, name="hear")
    async def two(event: Rung) -> None: ...

    found = only(app)
    assert (found.subject, found.problem) == ("bells.hear", "2 operations have this name")


def test_two_events_of_one_type_are_refused() -> None:
    class Ringing(Event):
        __type__ = "Rung"

    app = App("bells")
    app.sends(Ringing)

    @app.on(Rung)
    async def hear(event: Rung) -> None: ...

    @app.on(Rung)
    async def again(event: Rung) -> None: ...

    found = only(app)
    assert found.subject == "event Rung"
    assert f"{__name__}.Rung and {__name__}.test_two_events_of_one_type_are_refused.<locals>.Ringing" in found.problem
    assert "__type__" in found.remedy


@pytest.mark.parametrize("version", [0, -1, "2"])
def test_versions_count_from_one(version: object) -> None:
    app = App("bells")
    app.sends(msgspec.defstruct("Odd", [], bases=(Event,), namespace={"__version__": version}))

    assert only(app).problem == f"its __version__ is {version!r}"


def test_what_is_no_event_is_neither_sent_nor_heard() -> None:
    class Plain(Struct):
        number: int

    app = App("bells")
    app.sends(Plain)  # type: ignore[arg-type]

    @app.on(Event)
    async def hear(event: Event) -> None: ...

    said = "\n".join(map(str, complaints_of(app)))
    assert "it sends <class" in said
    assert "bells.hear: it is on <class 'toque.contract.event.Event'>, which is no event" in said


def test_a_job_that_nobody_would_find_is_missed_at_start() -> None:
    kitchen = Module("kitchen")
    app = App("bistro")

    @kitchen.job()
    async def cook(dish: str) -> None: ...

    @app.command(allow=public)
    async def order(dish: str, jobs: Jobs) -> None:
        jobs.enqueue(cook, dish)

    @app.command(allow=public)
    async def look(outbox: Outbox) -> str:
        return cook.__name__

    found = only(app)
    assert found.subject == "bistro.order"
    assert found.problem == "it enqueues kitchen.cook, which is no job of this app: nobody would find it"
    assert "App(modules=[kitchen])" in found.remedy

    app.include(kitchen)
    assert app.serve()
