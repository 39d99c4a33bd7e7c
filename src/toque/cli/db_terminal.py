"""How `toque db` asks and tells: questions at a terminal, progress, findings, history."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from toque.store.migrations.questions import Asker
from toque.store.migrations.reports import Reports

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from toque.store.migrations.checking import Finding
    from toque.store.migrations.steps import Steps

__all__ = ["Terminal", "asker", "show_findings", "show_history"]


def asker() -> Asker:
    """A person, where there is one to answer."""
    return _Person() if sys.stdin.isatty() and sys.stdout.isatty() else Asker()


class _Person(Asker):
    def renamed(self, old: str, candidates: Sequence[str]) -> str | None:
        from rich.prompt import Prompt

        print(
            f"\n{old} is gone from the models. Was it renamed?\n"
            '  (A rename breaks the release before; mapped_column("old_name") renames it in Python alone.)'
        )
        for number, name in enumerate(candidates, 1):
            print(f"  {number}  renamed to {name}; its data stays")
        print("  0  no: it is dropped, with its data, in the contract phase")
        choices = [str(number) for number in range(len(candidates) + 1)]
        answer = int(Prompt.ask("which", choices=choices, default="1"))
        return candidates[answer - 1] if answer else ""

    def value(self, column: str, kind: str, example: str) -> str | None:
        from rich.prompt import Prompt

        print(f"\n{column} ({kind}) must not be NULL. What do the rows get that are there? SQL, other columns too.")
        return Prompt.ask("value", default=example.strip('"'))

    def replaced(self, value: str, values: Sequence[str]) -> str | None:
        from rich.prompt import Prompt

        print(f"\n{value} is no value any more. What do rows get that hold it?")
        return Prompt.ask("instead", choices=list(values), default=values[0])


class Terminal(Reports):
    """One line for each migration; a bar with its rate for a backfill, where somebody looks."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: Any) -> None:
        self._end_bar()

    def say(self, sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    def begins(self, name: str, phase: str) -> None:
        self._name = f"{phase} {name}"

    def ends(self, name: str) -> None:
        self._end_bar()
        print(f"ran {self._name}", flush=True)

    def fills(self, table: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = _bar()
            self._bar.start()
            self._task = self._bar.add_task(table, rate="")
        assert self._task is not None
        rate = self._bar.tasks[self._task].speed or 0.0
        self._bar.update(self._task, completed=done, total=total, rate=f"{rate:,.0f} rows/s")

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def show_findings(findings: Sequence[Finding], form: str) -> None:
    """Print them as text, as JSON, or as GitHub's workflow commands ("Workflow commands for GitHub Actions")."""
    if form == "json":
        print(json.dumps(msgspec.to_builtins(list(findings)), indent=2))
        return
    for found in findings:
        if form == "github":
            text = f"{found.problem} {found.remedy}".replace("%", "%25").replace("\n", "%0A")
            print(f"::error file={found.file},line={found.line},title={found.rule}::{text}")
        else:
            print(f"{found.file}:{found.line}: {found.rule}: {found.problem}\n    -> {found.remedy}")
    if form == "text":
        print(f"{len(findings)} dangerous" if findings else "nothing dangerous")


def show_history(steps: Steps, at: str | None) -> None:
    """Print each migration on a line, with a mark for those that the database has."""
    waiting = {step.revision for step in steps.after(at)}
    for step in steps.all:
        mark = "waits" if step.revision in waiting else "here " if step.revision == at else "ran  "
        way_back = f"no way back: {step.irreversible}" if step.irreversible else ""
        loss = f"going back loses {', '.join(step.loses)}" if step.loses else way_back
        print(f"{mark} {step.revision} {step.phase:<8} {step.message}" + (f"; {loss}" if loss else ""))
