"""The files that one change of the models may need, in their order, and what each holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from alembic.operations import MigrateOperation

from toque.store.migrations.phases import Phase

__all__ = ["STAGES", "Draft", "Stage"]


class Stage(NamedTuple):
    """One file."""

    phase: Phase
    is_transactional: bool
    title: str


STAGES: dict[str, Stage] = {
    "rename": Stage("switch", True, "rename"),
    "expand": Stage("expand", True, ""),
    "build": Stage("expand", False, "build and validate"),
    "backfill": Stage("backfill", False, "backfill"),
    "switch": Stage("switch", True, "switch"),
    "restrict": Stage("contract", True, "restrict"),
    "settle": Stage("contract", False, "settle"),
    "contract": Stage("contract", True, "contract"),
}
"""Renames come first, since all that follows uses the new names. `restrict` adds constraints that `settle`
validates; what is taken away is taken last."""


@dataclass
class Draft:
    """What one file will say."""

    up: list[MigrateOperation] = field(default_factory=list)
    down: list[MigrateOperation] = field(default_factory=list)
    """In the order in which they were thought of; run backwards."""
    loses: list[str] = field(default_factory=list)
    irreversible: str = ""
    allowed: dict[str, str] = field(default_factory=dict)
    """Rules of the check that it may break, and why."""
    forbidden: set[str] = field(default_factory=set)
    """Rules that something in it breaks without such a reason: its author has to give one."""
