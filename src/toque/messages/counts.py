"""What is counted of messages, beside what the database knows."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["HELP"]

HELP: Mapping[str, str] = {
    "consumer_events": "Events that a consumer has handled, tries again (retried), or has given up (dead).",
    "jobs_ended": "Starts of jobs that have ended: done, again, dead, cancelled, or superseded by another start.",
    "webhook_tries": "Tries to deliver a webhook, by outcome.",
    "webhook_endpoints_disabled": "Endpoints that were disabled because they wanted no more, or failed for days.",
    "relay_events": "Events that a broker has confirmed.",
}
"""Each figure's meaning, by its name without the prefix `toque_`."""
