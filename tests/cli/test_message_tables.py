"""`toque jobs` and `toque events` on eighty columns: nothing is cut, and ids can be copied."""

from __future__ import annotations

import json
import re
from pathlib import Path
from uuid import UUID

import pytest
from shell import Toque, write

LAUNDRY = """
from toque import App, Event, Jobs, Outbox, public

app = App("laundry")

class WashingMachineEmptied(Event):
    machine: str

@app.job(queue="washing-machines")
async def wash_and_spin_and_dry(machine: str) -> None: ...

@app.job(queue="idle-mangle")
async def mangle() -> None: ...

app.sends(WashingMachineEmptied)

@app.on(WashingMachineEmptied)
async def iron_what_is_dry(event: WashingMachineEmptied) -> None: ...

@app.command(allow=public)
async def fill(jobs: Jobs, outbox: Outbox) -> None:
    jobs.enqueue(wash_and_spin_and_dry, "third from the left", key="third from the left")
    jobs.enqueue(wash_and_spin_and_dry, "second", delay=7200)
    outbox.publish(WashingMachineEmptied("third from the left"), key="third from the left")
"""

ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")


@pytest.fixture
def laundry(toque: Toque, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write(tmp_path / "laundry", {"app.py": LAUNDRY})
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TOQUE_MESSAGES_WORK", "false")
    toque("db", "upgrade", "laundry")
    assert toque("call", "laundry.fill", "--app", "laundry").code == 0
    return folder


def test_jobs_are_listed_with_ids_that_can_be_copied(toque: Toque, laundry: Path) -> None:
    said, plain = (
        toque("jobs", "list", "--app", "laundry"),
        toque("jobs", "list", "--app", "laundry", "--format", "json"),
    )

    found = json.loads(plain.out)
    assert len(found) == 2
    assert sorted(ID.findall(said.out)) == sorted(one["id"] for one in found)
    assert max(map(len, said.out.splitlines())) <= 80
    assert said.out.count("laundry.wash_and_spin_and_dry") == 2, "a name that fits is not cut"
    assert "in 120 min" in said.out or "in 2 h" in said.out
    assert "washing-machines" in said.out
    assert ID.search(toque("jobs", "show", found[0]["id"], "--app", "laundry").out)


def test_a_job_is_followed_until_it_is_over(toque: Toque, laundry: Path) -> None:
    (job, _) = json.loads(toque("jobs", "list", "--app", "laundry", "--format", "json").out)
    toque("jobs", "cancel", job["id"], "--app", "laundry")

    followed = toque("jobs", "show", job["id"], "--follow", "--app", "laundry")
    unknown = toque("jobs", "show", str(UUID(int=1)), "--follow", "--app", "laundry")

    assert followed.code == 0
    assert ": cancelled" in followed.out
    assert unknown.code == 1
    assert "nothing is known" in unknown.err


@pytest.mark.parametrize("act", ["retry", "discard", "cancel"])
def test_a_job_that_is_not_there_is_said_with_where_to_look(toque: Toque, laundry: Path, act: str) -> None:
    said = toque("jobs", act, "01a23027-8969-79d8-9f04-34983b6d64c5", "--app", "laundry")

    assert (said.code, said.out) == (1, "")
    assert said.err.endswith("; see `toque jobs list`\n")


@pytest.mark.parametrize("words", [["jobs", "list"], ["jobs", "queues"], ["events", "consumers"], ["events", "parked"]])
def test_lists_take_the_app_as_a_word_and_as_an_option(toque: Toque, laundry: Path, words: list[str]) -> None:
    # `toque jobs list laundry` was refused, and `toque events parked --app laundry`.
    as_word, as_option = toque(*words, "laundry/app.py"), toque(*words, "--app", "laundry/app.py")

    assert (as_word.code, as_word.err) == (0, "")
    assert as_word == as_option


def test_queues_are_listed(toque: Toque, laundry: Path) -> None:
    said = toque("jobs", "queues", "--app", "laundry")

    assert max(map(len, said.out.splitlines())) <= 80
    (line,) = [line for line in said.out.splitlines() if line.startswith("washing-machines")]
    assert line.split()[1:5] == ["1", "0", "1", "0"]


def test_a_queue_whose_name_is_misspelt_is_not_paused(toque: Toque, laundry: Path) -> None:
    for act in ("pause", "resume"):
        said = toque("jobs", act, "washing-machine", "--app", "laundry")
        assert (said.code, said.out) == (2, "")
        assert "did you mean washing-machines?" in said.err

    assert toque("jobs", "pause", "mail", "--app", "laundry").err.strip() == (
        "there is no queue 'mail'; known: idle-mangle, washing-machines"
    )
    assert toque("jobs", "pause", "idle-mangle", "--app", "laundry").out == "idle-mangle is paused\n"


def test_endpoints_of_webhooks_are_listed_with_ids_that_can_be_copied(toque: Toque, laundry: Path) -> None:
    url = "https://parcels.example/laundry/hooks/of/the/third/machine/from/the/left"
    added = toque("webhooks", "add", url, "--tenant", "a-tenant-with-a-long-name", "--app", "laundry")

    said = toque("webhooks", "list", "--app", "laundry")

    assert added.out.split()[0] in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_events_and_consumers_are_listed(toque: Toque, laundry: Path) -> None:
    listed, consumers = toque("events", "list", "laundry"), toque("events", "consumers", "laundry")

    assert max(map(len, (listed.out + consumers.out).splitlines())) <= 80
    assert len(ID.findall(listed.out)) == 1
    assert "WashingMachineEmptied 1" in listed.out
    assert "laundry.iron_what_is_dry" in consumers.out
    (row,) = json.loads(toque("events", "consumers", "laundry", "--format", "json").out)
    assert (row["lag"], row["is_owned"]) == (1, False)


def test_nothing_to_list_is_a_table_of_nothing(toque: Toque, laundry: Path) -> None:
    said = toque("events", "parked", "laundry")

    assert said.code == 0
    assert "last error" in said.out


NOBODY = "01a23027-8969-79d8-9f04-34983b6d64c5"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["events", "parked", "laundry", "--consumer", "laundry.iron"], "did you mean laundry.iron_what_is_dry?"),
        *(
            (["events", act, "laundry.iron", NOBODY, "--app", "laundry"], "did you mean laundry.iron_what_is_dry?")
            for act in ("show", "retry", "discard")
        ),
        (["jobs", "list", "--queue", "washing-machine", "--app", "laundry"], "did you mean washing-machines?"),
        (
            ["events", "edit", "laundry.iron_what_is_dry", NOBODY, "--data", "@none.json", "--app", "laundry"],
            "none.json cannot be read: No such file or directory",
        ),
        (["jobs", "list", "--limit", "-1", "--app", "laundry"], "Must be >= 1"),
        (["events", "parked", "laundry", "--limit", "0"], "Must be >= 1"),
    ],
)
def test_what_is_used_wrongly_is_said_with_what_was_meant(
    toque: Toque, laundry: Path, words: list[str], hint: str
) -> None:
    said = toque(*words)

    assert (said.code, said.out) == (2, "")
    assert hint in " ".join(said.err.split())


def test_a_list_that_is_empty_is_no_mistake(toque: Toque, laundry: Path) -> None:
    consumer = toque("events", "parked", "laundry", "--consumer", "laundry.iron_what_is_dry", "--format", "json")
    queue = toque("jobs", "list", "--queue", "idle-mangle", "--app", "laundry", "--format", "json")

    assert (consumer.code, consumer.out) == (queue.code, queue.out) == (0, "[]\n")
