"""A migration as one file says it: its place, its phase, and what going back would lose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from alembic.config import Config
from alembic.script import ScriptDirectory

from toque.store.migrations.phases import Phase
from toque.store.migrations.refused import Refused

__all__ = ["Step", "Steps"]


@dataclass(frozen=True)
class Step:
    """One file in `versions/`."""

    revision: str
    down: str | None
    message: str
    phase: Phase
    is_transactional: bool
    """Whether it is run in one transaction. Else each statement is its own, and running it twice must be fine."""
    loses: tuple[str, ...]
    """What its downgrade loses, in words; empty when nothing."""
    irreversible: str
    """Why there is no way back; empty where there is one."""
    path: Path
    module: Any = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        return f"{self.revision} {self.message}"


class Steps:
    """The migrations of a folder, first to last.

    Raises: Refused where they do not form one line.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "versions").mkdir(parents=True, exist_ok=True)
        self.folder = folder
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        self.scripts = ScriptDirectory.from_config(config)
        heads = self.scripts.get_heads()
        if len(heads) > 1:
            raise Refused(
                f"{folder} has {len(heads)} last migrations: {', '.join(sorted(heads))}. "
                "Let one revise the other: set its down_revision, after you have read both."
            )
        self.all: Sequence[Step] = [_step(script) for script in self.scripts.walk_revisions()][::-1]

    @property
    def head(self) -> str | None:
        return self.all[-1].revision if self.all else None

    @property
    def revisions(self) -> list[str]:
        return [step.revision for step in self.all]

    def after(self, revision: str | None) -> Sequence[Step]:
        """The steps that a database at *revision* lacks; all of them where it is at none of ours."""
        known = self.revisions
        return self.all[known.index(revision) + 1 :] if revision in known else self.all

    def up_to(self, target: str) -> Sequence[Step]:
        """The steps until *target*: `head`, or (the beginning of) a revision. Raises: Refused."""
        return self.all if target == "head" else self.all[: self.place(target) + 1]

    def place(self, target: str) -> int:
        found = [place for place, name in enumerate(self.revisions) if name.startswith(target)]
        if len(found) != 1:
            raise Refused(f"there is no migration {target!r}; known: {', '.join(self.revisions) or 'none'}")
        return found[0]


def _step(script: Any) -> Step:
    module = script.module
    phase: Phase = getattr(module, "phase", "expand")
    if phase not in get_args(Phase):
        raise Refused(f"{script.path}: expected a phase of {', '.join(get_args(Phase))}, got {phase!r}.")
    return Step(
        script.revision,
        cast("str | None", script.down_revision),
        re.sub(r"\s+", " ", script.doc or "").strip(),
        phase,
        getattr(module, "is_transactional", True),
        tuple(getattr(module, "downgrade_loses", ())),
        getattr(module, "irreversible", ""),
        Path(script.path),
        module,
    )
