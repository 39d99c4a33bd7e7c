"""Each moment of a schedule is used once, by however many processes, whatever the clocks do."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from job_looks import act, rows, until

from toque import App, Database
from toque.contract.complaints import SetupError
from toque.contract.schedule import Schedule, cron, every
from toque.messages.jobs.schedules import MADE_UP_MAX
from toque.settings import Messages, Settings
from toque.store import Store
from toque.testing import running


def moments(schedule: Schedule, since: str, count: int) -> list[str]:
    at, found = datetime.fromisoformat(since).timestamp(), []
    for _ in range(count):
        at = schedule.after(at)
        found.append(datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M"))
    return found


def test_an_interval_is_counted_from_1970() -> None:
    assert moments(every("15m"), "2026-01-01T00:07:00+00:00", 3) == ["01-01 00:15", "01-01 00:30", "01-01 00:45"]
    assert every("1h").interval_s == 3600
    assert every("2d").words == "every 172800 s"


def test_a_time_that_summer_leaves_out_comes_right_after_it() -> None:
    at_half_past_two = cron("30 2 * * *", "Europe/Berlin")
    assert moments(at_half_past_two, "2026-03-28T00:00:00+01:00", 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_a_time_that_comes_twice_is_used_once_unless_it_is_every_hour() -> None:
    at_half_past_two, half_hourly = cron("30 2 * * *", "Europe/Berlin"), cron("*/30 * * * *", "Europe/Berlin")
    assert moments(at_half_past_two, "2026-10-24T12:00:00+02:00", 2) == ["10-25 00:30", "10-26 01:30"]
    assert moments(half_hourly, "2026-10-25T01:45:00+02:00", 4) == [
        "10-25 00:00", "10-25 00:30", "10-25 01:00", "10-25 01:30",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "zone", "first", "moment"),
    [
        ("30 2 * * *", "Europe/Rome", "2026-10-25T02:30:00+02:00", "2026-10-25T02:10:00+01:00"),
        ("30 23 * * *", "America/Sao_Paulo", "2018-02-17T23:30:00-02:00", "2018-02-17T23:10:00-03:00"),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-05T01:45:00+11:00", "2026-04-05T01:35:00+10:30"),
    ],
)
def test_who_begins_in_an_hour_that_has_come_before_begins_with_what_is_to_come(
    line: str, zone: str, first: str, moment: str
) -> None:
    daily = cron(line, zone)
    used, now = datetime.fromisoformat(first).timestamp(), datetime.fromisoformat(moment).timestamp()
    assert used < now < daily.after(now) == daily.after(used)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: every("5 minutes"), "one of s, m, h, d"),
        (lambda: every(0.1), "shortest"),
        (lambda: every(float("nan")), "a century"),
        (lambda: every(timedelta.max), "a century"),
        (lambda: cron(""), "line of cron"),
        (lambda: cron("0 6 * *"), "line of cron"),
        (lambda: cron("0 0 30 2 *"), "line of cron"),
        (lambda: cron("0 6 * * *", "Europe/Berlim"), "Europe/Berlin"),
        (lambda: every("1m", missed="some"), "missed="),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_schedule_is_refused_where_it_is_declared(make: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


def clock(missed: Any = "last") -> tuple[App, list[float]]:
    app, ticks = App("clock"), list[float]()

    @app.every("1s", missed=missed)
    async def tick() -> None:
        ticks.append(asyncio.get_running_loop().time())

    return app, ticks


async def test_several_processes_use_each_moment_once(database_url: str, other: Store) -> None:
    (one, ticks), (another, others) = clock(), clock()
    async with running(one, database_url=database_url), running(another, database_url=database_url):
        began = (await until(lambda: rows(other, "SELECT due FROM toque.job_schedule")))[0][0]
        await until(lambda: len(ticks) + len(others) >= 3)
        now = (await rows(other, "SELECT due FROM toque.job_schedule"))[0][0]
        passed = now - began if isinstance(now, float) else (now - began).total_seconds()
        await until(lambda: len(ticks) + len(others) >= passed)

        assert len(ticks) + len(others) <= passed + 1


SET_BACK = {
    "postgresql": "UPDATE toque.job_schedule SET due = date_trunc('second', clock_timestamp()) - interval '{} seconds'",
    "sqlite": "UPDATE toque.job_schedule SET due = CAST(strftime('%s', 'now') AS INTEGER) - {}",
}


@pytest.mark.parametrize(("missed", "least", "most"), [("none", 0, 3), ("last", 1, 4), ("all", 90, 95)])
async def test_what_was_missed_is_made_up_for_as_it_says(
    database_url: str, other: Store, missed: str, least: int, most: int
) -> None:
    app, _ = clock(missed)
    async with running(app, database_url=database_url):
        await until(lambda: rows(other, "SELECT name FROM toque.job_schedule"))
    # Hours ago as far as the schedule knows, and nobody was there.
    await act(other, SET_BACK[other.dialect_name].format(90))
    again, ticks = clock(missed)
    async with running(again, database_url=database_url):
        until_now = "SELECT name FROM toque.job_schedule WHERE due > {}"
        now = "clock_timestamp()" if other.dialect_name == "postgresql" else "CAST(strftime('%s', 'now') AS INTEGER)"
        await until(lambda: rows(other, until_now.format(now)))
        await until(lambda: len(ticks) >= least)
        await asyncio.sleep(0.2)

    assert least <= len(ticks) <= most


async def test_more_than_can_be_made_up_for_is_said(
    database_url: str, other: Store, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = clock("all")
    one_at_a_time = Settings(messages=Messages(jobs_max=1))
    async with running(app, settings=one_at_a_time, database_url=database_url):
        await until(lambda: rows(other, "SELECT name FROM toque.job_schedule"))
    await act(other, SET_BACK[other.dialect_name].format(MADE_UP_MAX + 100))
    with caplog.at_level(logging.WARNING, "toque.jobs"):
        async with running(clock("all")[0], settings=one_at_a_time, database_url=database_url):
            await until(lambda: is_said(caplog, f"clock.tick missed more than {MADE_UP_MAX} moments"))


async def is_said(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return words in caplog.text


def test_what_begins_by_itself_takes_no_inputs() -> None:
    app = App("wrong")

    @app.every("1m")
    async def tick(name: str, db: Database) -> None: ...

    with pytest.raises(SetupError, match="nobody gives it 'name'"):
        app.serve()
