"""Migrations: Alembic, configured here and nowhere else (no alembic.ini, no env.py).

A folder `migrations/` beside the app holds `versions/`, one file per step. `writing.py` writes them from the
models, `moving.py` runs them, `checking.py` says what is dangerous about them.
"""

from __future__ import annotations

from toque.store.migrations.moving import Outcome, Way, current, downgrade, pending, upgrade
from toque.store.migrations.patience import Patience
from toque.store.migrations.refused import Refused
from toque.store.migrations.reports import Reports
from toque.store.migrations.steps import Step, Steps
from toque.store.migrations.writing import revision

__all__ = [
    "Outcome",
    "Patience",
    "Refused",
    "Reports",
    "Step",
    "Steps",
    "Way",
    "current",
    "downgrade",
    "pending",
    "revision",
    "upgrade",
]
