"""Each rule that keeps a promise, taken away in a copy of the source: some seed must find that it is gone.

`python tests/faults/removed.py [WORD]` prints the table of docs/why/proof.md, of the rules whose name has the word.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["REMOVED", "Removed", "found"]

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"

GIVE_UP_S = 600


class Removed(NamedTuple):
    """A rule, and the source without it."""

    rule: str
    file: str
    edits: tuple[tuple[str, str], ...]
    """What stands there, once, and what stands there instead."""
    target: str = "till:scenario"
    database: str = "sqlite"
    seeds: int = 60
    """Within so many it must be found."""
    more: tuple[str, str, str] | None = None
    """Another file, and what is changed in it."""

    @property
    def path(self) -> Path:
        return SOURCE / "toque" / self.file


REMOVED = (
    Removed(
        "a command of a batch hears of its commit after COMMIT",
        "store/sqlite_batch.py",
        (
            (
                '        try:\n            self.connection.execute("COMMIT',
                "        self._tell(ended, None)\n        time.sleep(0.003)\n"
                '        try:\n            self.connection.execute("COMMIT',
            ),
        ),
    ),
    Removed(
        "what a failed command did in its batch is undone",
        "store/sqlite_batch.py",
        (('"ROLLBACK TO command", "RELEASE command"', '"RELEASE command"'),),
    ),
    Removed(
        "a key that was used answers with what is kept",
        "store/deduplicate.py",
        (("            if kept is not None:\n                return decode(kept)\n", ""),),
    ),
    Removed(
        "the key is taken in the transaction of its command",
        "store/replies.py",
        (
            (
                "            await asyncio.sleep(WAIT_AGAIN_S)\n        return None",
                "            await asyncio.sleep(WAIT_AGAIN_S)\n"
                "        await transaction.execute(Prepared(f'DELETE FROM {TABLE}', True), [])\n        return None",
            ),
        ),
    ),
    Removed(
        "events are written with the COMMIT of their command",
        "store/postgres_transaction.py",
        (
            (
                'await self._run(connection.execute(f"{closing.sql(self.attached, connection.session)}COMMIT"))',
                'await self._run(connection.execute("COMMIT"))\n'
                "            await self._run(connection.execute("
                'f"BEGIN READ WRITE;{closing.sql(self.attached, connection.session)}COMMIT"))',
            ),
        ),
        database="postgresql",
    ),
    Removed(
        "what became of a lost COMMIT is read back",
        "store/postgres_transaction.py",
        (("outcome = await self._find_out(self._number, self.context)", 'outcome = "aborted"'),),
        database="postgresql",
    ),
    Removed(
        "an event that was handled has a row in the inbox",
        "messages/inbox.py",
        (("transaction_of(database).attached.append((_ATTACHED, row))", "pass"),),
        "kitchen:scenario",
    ),
    Removed(
        "an event that was handled has a row in the inbox",
        "messages/inbox.py",
        (("return await transaction_of(database).execute(_INSERT[self._dialect], row) == 1", "return True"),),
        "kitchen:scenario",
        "postgresql",
    ),
    Removed(
        "the cursor moves when what is before it is settled",
        "messages/ownership.py",
        (
            (
                "            self._read_to = after\n",
                "            self._read_to = self._settled_to = after\n            self._is_own_settled = True\n",
            ),
            ("SAVE_S = 1.0", "SAVE_S = 0.01"),
        ),
        "kitchen:scenario",
    ),
    Removed(
        "what had begun before the last snapshot is read, too",
        "log/postgres_reader.py",
        (("OR xid = ANY($4::text[]::xid8[])", "OR $4::text[] IS NULL"),),
        "kitchen:scenario",
        "postgresql",
    ),
    Removed(
        "a consumer has one owner at a time",
        "log/tail.py",
        (("is_ours = await self._wire.claim(name)", "is_ours = True"),),
        "kitchen:scenario",
    ),
    Removed(
        "events of one key are handled one after the other",
        "messages/ownership.py",
        (
            ("self._lanes.add(item.entry.key, item)", 'self._lanes.add("", item)'),
            ("behind = self._lanes.take(item.entry.key)", "behind: list[_Item] = []"),
        ),
        "kitchen:scenario",
    ),
    Removed(
        "an event that failed holds up those of its key",
        "messages/ownership.py",
        (("holds = bool(item.entry.key) and (self.consumer.holds or not is_over)", "holds = False"),),
        "kitchen:scenario",
    ),
    Removed(
        "what failed is parked before the cursor passes it",
        "messages/ownership.py",
        (
            ("        await self._surely(lambda: self._desk.parked.add(self._tenure, events))\n", ""),
            (
                "        self._settle(items)\n        self._stir.set()\n\n    def _settle(",
                "        self._settle(items)\n        await asyncio.sleep(0.1)\n"
                "        await self._surely(lambda: self._desk.parked.add(self._tenure, events))\n"
                "        self._stir.set()\n\n    def _settle(",
            ),
            ("SAVE_S = 1.0", "SAVE_S = 0.01"),
        ),
        "kitchen:scenario",
    ),
    Removed(
        "what a former owner was trying is tried again",
        "messages/parked.py",
        (("            await run(_SUSPECT, tenure.id, int(has_crashed), crashes_max, holds)\n", ""),),
        "kitchen:scenario",
    ),
    Removed(
        "what a former owner writes names its fence",
        "messages/register.py",
        (
            ("    _state(await rows(database, _HOLD[dialect], tenure.id, tenure.fence))", "    pass"),
            ('"WHERE id = $1 AND fence = $2 RETURNING state"', '"WHERE id = $1 AND $2 > 0 RETURNING state"'),
            (
                '_STATE = both("SELECT state FROM toque.consumer WHERE id = $1 AND fence = $2")',
                '_STATE = both("SELECT state FROM toque.consumer WHERE id = $1 AND $2 > 0")',
            ),
        ),
        "kitchen:scenario",
        "postgresql",
    ),
    Removed(
        "a job ends in the transaction of its effects",
        "messages/jobs/finish.py",
        (
            (
                "attached.append((FINISH, (id, fence, job.result(value) if job.keep_s else None, job.keep_s)))",
                "assert FINISH and id and fence",
            ),
        ),
        "kitchen:scenario",
        more=("messages/jobs/runner.py", "if not job.is_transaction:", "if True:"),
    ),
    Removed(
        "the jobs of a worker that died are given back",
        "messages/jobs/rescue.py",
        (("                    await self._give_back(worker)\n", "                    pass\n"),),
        "kitchen:scenario",
    ),
    Removed(
        "a worker that lives is not taken for dead",
        "messages/jobs/rescue.py",
        (("            if not await self._tail.claim(claim_of(worker)):", "            if worker < 0:"),),
        "kitchen:scenario",
    ),
    Removed(
        "a job with a key waits for those before it",
        "messages/jobs/lines.py",
        (("w.key = '' OR (", "w.key <> '.' OR ("),),
        "kitchen:scenario",
    ),
    Removed(
        "a start that was superseded keeps nothing",
        "messages/jobs/inserting.py",
        (
            (
                '_DONE = Template("SELECT toque.finish_job($1, $2)", "uuid, bigint")',
                '_DONE = Template("DELETE FROM toque.job WHERE id = $1 AND $2 > 0", "uuid, bigint")',
            ),
        ),
        "kitchen:scenario",
        "postgresql",
    ),
)


def found(removed: Removed) -> tuple[int, str] | None:
    """The first seed that finds that the rule is gone, and what it finds."""
    with tempfile.TemporaryDirectory(prefix="toque-removed-") as name:
        source = Path(name) / "src"
        shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
        file = source / "toque" / removed.file
        text = file.read_text()
        for old, new in removed.edits:
            assert text.count(old) == 1, f"{removed.file} is not as {removed.rule!r} has it: {old}"
            text = text.replace(old, new)
        file.write_text(text)
        if removed.more is not None:
            other, old, new = removed.more
            text = (source / "toque" / other).read_text()
            assert text.count(old) == 1, f"{other} is not as {removed.rule!r} has it: {old}"
            (source / "toque" / other).write_text(text.replace(old, new))
        return next(_findings(removed, source), None)


def _findings(removed: Removed, source: Path) -> Iterator[tuple[int, str]]:
    step = 10
    for first in range(0, removed.seeds, step):
        words = ["--first", str(first), "--count", str(step), "--database", removed.database, "--brief"]
        done = subprocess.run(
            [sys.executable, "-m", "toque.testing.faults", removed.target, *words],
            cwd=HERE,
            env={**os.environ, "PYTHONPATH": str(source)},
            capture_output=True,
            text=True,
            check=False,
            timeout=GIVE_UP_S,
        )
        assert done.returncode in (0, 1), done.stderr
        for line in done.stdout.splitlines():
            # A loaded machine may hang by itself.
            if line.startswith("seed ") and ": hangs" not in line:
                seed, _, finding = line.removeprefix("seed ").partition(": ")
                yield int(seed), finding
        assert done.returncode == 0 or "seed " in done.stdout, done.stderr


def main(word: str) -> None:
    print("| without | database | seed | finds |\n|---|---|---|---|")
    for removed in REMOVED:
        if word in removed.rule:
            seed, finding = found(removed) or ("none", f"nothing in {removed.seeds} seeds")
            print(f"| {removed.rule} | {removed.database} | {seed} | {finding} |", flush=True)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
