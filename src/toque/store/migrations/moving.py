"""Moving a database along its migrations: up, down, and where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect

from toque.store.migrations.alive import behind, beyond, described
from toque.store.migrations.patience import Patience
from toque.store.migrations.phases import is_guarded
from toque.store.migrations.refused import Refused
from toque.store.migrations.reports import Reports
from toque.store.migrations.running import run
from toque.store.migrations.session import in_session, reading
from toque.store.migrations.steps import Step, Steps
from toque.store.release import Release
from toque.store.schema import SchemaDrift, drift

__all__ = ["Outcome", "Way", "current", "downgrade", "pending", "upgrade"]


@dataclass(frozen=True)
class Outcome:
    """What an upgrade came to."""

    ran: Sequence[str] = ()
    """The revisions that were run, in their order."""
    waits: Step | None = None
    """The step that it stopped before, because releases are alive that do not know of it."""
    alive: Sequence[Release] = ()
    """Those releases."""

    @property
    def advice(self) -> str:
        """What waits, for whom, and what to do; empty when nothing waits."""
        if self.waits is None:
            return ""
        return (
            f"{self.waits.phase} {self.waits.name} waits for releases that do not know of it: "
            f"{described(self.alive)}. Run `toque db upgrade` again when they have ended; --force breaks their "
            "statements that use what it takes away."
        )


@dataclass(frozen=True)
class Way:
    """How to move."""

    app: str = ""
    """The app whose releases are waited for; empty: nobody is waited for."""
    is_forced: bool = False
    """Whether releases that are alive do not matter."""
    may_lose: bool = False
    """Whether a downgrade may lose data."""
    patience: Patience = field(default_factory=Patience)
    reports: Reports = field(default_factory=Reports)


async def upgrade(url: str, metadata: MetaData, folder: Path, target: str = "head", way: Way | None = None) -> Outcome:
    """Run the steps up to *target*, and stop before one that a release alive cannot bear.

    A database whose tables `create_missing` made is taken over at the last step. Raises SchemaDrift when it
    does not have the shape that step leads to, Refused when it gets no lock.
    """
    way = way or Way()
    return await in_session(url, partial(_upgrade, metadata, Steps(folder), target, way), way.reports)


async def downgrade(
    url: str, metadata: MetaData, folder: Path, target: str = "-1", way: Way | None = None
) -> list[str]:
    """Take back the steps after *target* (a revision, `base`, or `-1` for the last one): their revisions.

    Raises: Refused, before anything is changed, where one loses data and *way* does not allow it, where there is
        no way back, or where a release alive needs it.
    """
    way = way or Way()
    return await in_session(url, partial(_downgrade, metadata, Steps(folder), target, way), way.reports)


async def current(url: str) -> str | None:
    """The revision that the database is at; None when no step has been run."""
    return await in_session(url, _current)


async def pending(url: str, folder: Path) -> Sequence[Step]:
    """The steps that the database still lacks, first to run first."""
    steps = Steps(folder)
    return steps.after(await current(url))


def _current(connection: Connection) -> str | None:
    with reading(connection):
        return MigrationContext.configure(connection).get_current_revision()


def _upgrade(metadata: MetaData, steps: Steps, target: str, way: Way, connection: Connection) -> Outcome:
    at = _current(connection)
    until = steps.up_to(target)
    if at is None and until and _has_tables(connection, metadata):
        _take_over(metadata, steps, connection)
        return Outcome()
    _refuse_unknown(steps, at)
    ran: list[str] = []
    for step in until[len(steps.all) - len(steps.after(at)) :]:
        is_waiting = is_guarded(step.phase) and way.app and not way.is_forced
        if is_waiting and (alive := behind(connection, way.app, steps, step)):
            return Outcome(ran, step, alive)
        _move(connection, metadata, steps, step, way, is_up=True)
        ran.append(step.revision)
    return Outcome(ran)


def _downgrade(metadata: MetaData, steps: Steps, target: str, way: Way, connection: Connection) -> list[str]:
    at = _current(connection)
    _refuse_unknown(steps, at)
    if at is None:
        raise Refused("no migration has been run, so there is none to take back.")
    here = steps.place(at)
    until = {"base": -1, "-1": here - 1}.get(target)
    until = steps.place(target) if until is None else until
    back = steps.all[until + 1 : here + 1][::-1]
    _refuse_dishonest(back, way)
    if back and way.app and not way.is_forced and (alive := beyond(connection, way.app, steps, back[-1])):
        raise Refused(
            f"releases are alive that need {back[-1].name}: {described(alive)}. End them first; "
            "--force breaks their statements."
        )
    for step in back:
        _move(connection, metadata, steps, step, way, is_up=False)
    return [step.revision for step in back]


def _refuse_dishonest(back: Sequence[Step], way: Way) -> None:
    for step in back:
        if step.irreversible:
            raise Refused(
                f"{step.name} cannot be taken back: {step.irreversible}. Restore a backup, or write a new one."
            )
    losses = [f"{step.revision} loses {', '.join(step.loses)}" for step in back if step.loses]
    if losses and not way.may_lose:
        raise Refused(f"data would be lost: {'; '.join(losses)}. Pass --lose-data if that is meant.")


def _refuse_unknown(steps: Steps, at: str | None) -> None:
    if at is not None and at not in steps.revisions:
        raise Refused(
            f"the database is at {at}, which is not among the migrations here; "
            "it was moved by a newer release, so use that one's folder."
        )


def _move(connection: Connection, metadata: MetaData, steps: Steps, step: Step, way: Way, *, is_up: bool) -> None:
    way.reports.begins(step.name, step.phase if is_up else "downgrade")
    act = partial(run, connection, metadata, steps, step, way.reports, is_up=is_up)
    way.patience.run(act, connection, step.name, way.reports)
    way.reports.ends(step.name)


def _has_tables(connection: Connection, metadata: MetaData) -> bool:
    with reading(connection):
        return bool(set(inspect(connection).get_table_names()) & metadata.tables.keys())


def _take_over(metadata: MetaData, steps: Steps, connection: Connection) -> None:
    with connection.begin():
        missing = metadata.tables.keys() - set(inspect(connection).get_table_names())
        found = [f"table {name!r} is missing" for name in sorted(missing)] + drift(connection, metadata)
        if found:
            raise SchemaDrift(
                f"the database has tables but no migrations, and differs from the models: {'; '.join(found)}. "
                "Remove the development database, or bring it to the models' shape by hand."
            )
        MigrationContext.configure(connection).stamp(steps.scripts, "head")
