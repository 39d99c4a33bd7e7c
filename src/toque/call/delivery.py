"""The message that started a call: an event for a handler, or a job."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Delivery"]


class Delivery(Struct, frozen=True, kw_only=True):
    """One message, as it comes to one consumer. A handler or job may ask for it by type."""

    consumer: str
    """The handler's or job's name."""
    id: str
    """The event's or job's own; the same however often it comes."""
    key: str = ""
    """What it is in order with."""
    at: float = 0.0
    """When it was published, in seconds since 1970."""
    attempt: int = 1
    """1 the first time."""
    fence: int = 0
    """Which start of the job it is: what an earlier one still does is not kept."""
    step: int = 0
    """Which durable step of the job, from 1 on; 0 is the job itself."""
    step_name: str = ""

    @property
    def idempotency_key(self) -> str:
        """What to send along to others, so that they do once what may be asked of them twice."""
        return f"{self.consumer}/{self.id}/{self.step} {self.step_name}" if self.step else f"{self.consumer}/{self.id}"
