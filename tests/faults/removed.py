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
    old: str
    new: str
    target: str = "till:scenario"
    database: str = "sqlite"
    seeds: int = 60
    """Within so many it must be found."""


REMOVED = (
    Removed(
        "a command of a batch hears of its commit after COMMIT",
        "store/sqlite_batch.py",
        """        try:
            self.connection.execute("COMMIT" if ended else "ROLLBACK")""",
        """        for command in ended:
            command.done(None)
        try:
            time.sleep(0.003)
            self.connection.execute("COMMIT" if ended else "ROLLBACK")""",
    ),
    Removed(
        "what a failed command did in its batch is undone",
        "store/sqlite_batch.py",
        '"ROLLBACK TO command", "RELEASE command"',
        '"RELEASE command"',
    ),
    Removed(
        "a key that was used answers with what is kept",
        "store/deduplicate.py",
        "            if kept is not None:\n                return decode(kept)\n",
        "",
    ),
    Removed(
        "the key is taken in the transaction of its command",
        "store/replies.py",
        "            await asyncio.sleep(WAIT_AGAIN_S)\n        return None",
        "            await asyncio.sleep(WAIT_AGAIN_S)\n"
        "        await transaction.execute(Prepared(f'DELETE FROM {TABLE}', True), [])\n        return None",
    ),
    Removed(
        "events are written with the COMMIT of their command",
        "store/postgres_transaction.py",
        'await self._run(connection.execute(f"{closing.sql(self.attached)}COMMIT"))',
        'await self._run(connection.execute("COMMIT"))\n'
        "            await self._run(connection.execute("
        'f"BEGIN READ WRITE;{closing.sql(self.attached)}COMMIT"))',
        database="postgresql",
    ),
    Removed(
        "what became of a lost COMMIT is read back",
        "store/postgres_transaction.py",
        "outcome = await self._find_out(self._number, self.context)",
        'outcome = "aborted"',
        database="postgresql",
    ),
)


def found(removed: Removed) -> tuple[int, str] | None:
    """The first seed that finds that the rule is gone, and what it finds."""
    with tempfile.TemporaryDirectory(prefix="toque-removed-") as name:
        source = Path(name) / "src"
        shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
        file = source / "toque" / removed.file
        text = file.read_text()
        assert text.count(removed.old) == 1, f"{removed.file} is not as {removed.rule!r} has it"
        file.write_text(text.replace(removed.old, removed.new))
        return next(_findings(removed, source), None)


def _findings(removed: Removed, source: Path) -> Iterator[tuple[int, str]]:
    step = 20
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
            if line.startswith("seed "):
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
