"""The tables of webhooks out: endpoints, what is still to be delivered to them, and how far the log was read.

A delivery is a row until it has succeeded, so the table is as large as what waits. The body stands in each row: it is
small, and who deletes the last row that needs it need not be found out.
"""

from __future__ import annotations

from toque.log.step import Step

__all__ = ["WEBHOOKS"]

_ENDPOINT = """
CREATE TABLE {} (
    id text PRIMARY KEY,
    tenant text NOT NULL,
    url text NOT NULL,
    types text NOT NULL,
    secrets text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL DEFAULT '',
    failing_since double precision,
    paused_until double precision NOT NULL DEFAULT 0,
    made_at double precision NOT NULL
)
"""

_DELIVERY = """
CREATE TABLE {} (
    id {},
    endpoint text NOT NULL,
    message text NOT NULL,
    type text NOT NULL,
    body text NOT NULL,
    state text NOT NULL,
    due double precision NOT NULL,
    tried integer NOT NULL DEFAULT 0,
    status integer,
    reason text NOT NULL DEFAULT '',
    made_at double precision NOT NULL,
    UNIQUE (endpoint, message)
)
"""

_PLACE = "CREATE TABLE {} (name text PRIMARY KEY, cursor text NOT NULL)"

WEBHOOKS = Step(
    "webhooks",
    postgresql=(
        _ENDPOINT.format("toque.webhook_endpoint"),
        # A delivery is written three times and deleted: room in its page keeps that cheap, and vacuum comes early.
        _DELIVERY.format("toque.webhook_delivery", "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY")
        + "WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02)",
        "CREATE INDEX webhook_delivery_due ON toque.webhook_delivery (endpoint, state, due)",
        "CREATE INDEX webhook_delivery_made ON toque.webhook_delivery (made_at)",
        _PLACE.format("toque.webhook_place"),
    ),
    sqlite=(
        _ENDPOINT.format("toque_webhook_endpoint"),
        _DELIVERY.format("toque_webhook_delivery", "INTEGER PRIMARY KEY"),
        "CREATE INDEX toque_webhook_delivery_due ON toque_webhook_delivery (endpoint, state, due)",
        "CREATE INDEX toque_webhook_delivery_made ON toque_webhook_delivery (made_at)",
        _PLACE.format("toque_webhook_place"),
    ),
)
