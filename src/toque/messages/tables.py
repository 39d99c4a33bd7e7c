"""Every step of the layout of Toque's own tables, and the layout with all of them."""

from __future__ import annotations

from functools import partial

from toque.log import layout
from toque.log.event_table import EVENTS
from toque.log.step import Step
from toque.messages.broker_tables import BROKERS
from toque.messages.consumer_tables import CONSUMERS
from toque.messages.floor_tables import FLOORS
from toque.messages.job_tables import JOBS
from toque.messages.limit_tables import LIMITS
from toque.messages.line_tables import LINES
from toque.messages.wait_tables import WAITS
from toque.messages.webhooks.tables import WEBHOOKS

__all__ = ["RESTORED", "STEPS", "complaints", "lay_out"]

STEPS: tuple[Step, ...] = (EVENTS, CONSUMERS, JOBS, WEBHOOKS, BROKERS, WAITS, LIMITS, LINES, FLOORS)
"""In the order in which they are made."""

lay_out = partial(layout.lay_out, steps=STEPS)
"""Make what the database at a URL lacks: the names of the steps that were run."""

FENCES_SKIPPED = 1_000_000
"""More owners than a consumer gets between a backup and the loss that it is restored after: one a second for days."""

RESTORED: dict[str, str] = dict.fromkeys(("consumer", "relay"), f"UPDATE @table SET fence = fence + {FENCES_SKIPPED}")  # noqa: S608
"""What a backup that is restored needs, by table: that whoever has a consumer since before is none of its owners. What
he still handles is of the state that is gone, and he would go on from a place that it had, past what comes again."""

complaints = partial(layout.complaints, steps=STEPS)
"""What keeps an app with messages from using the database at a URL."""
