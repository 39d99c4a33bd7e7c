"""What became of jobs is written, whenever it comes in."""

from __future__ import annotations

import asyncio
from typing import Any

from job_looks import until

from toque.messages.jobs.job import Outcome
from toque.messages.jobs.settling import Settling
from toque.messages.jobs.table import JobTable
from toque.store import Store


class Followed(JobTable):
    """The jobs' table, which another outcome follows in the very step in which the last one was written."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.written: list[str] = []
        self.settling = Settling(self)

    async def settle(self, **kinds: Any) -> None:
        await super().settle(**kinds)
        self.written += [outcome.id for outcome in kinds["again"]]
        if len(self.written) == 1:
            asyncio.get_running_loop().call_soon(self.settling.add, "again", outcome(2))


def outcome(number: int) -> Outcome:
    """Of a job that is not there."""
    return Outcome(id=f"00000000-0000-0000-0000-{number:012d}", fence=1)


async def test_what_comes_in_as_the_last_is_written_is_written_too(other: Store) -> None:
    table = Followed(other)
    table.settling.add("again", outcome(1))

    await until(lambda: len(table.written) == 2, 5.0)

    assert table.written == [outcome(1).id, outcome(2).id]
    await table.settling.flush()
    assert table.settling.is_empty
