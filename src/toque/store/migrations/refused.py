"""What a migration's author or runner hears when it is not done: why, and what to do."""

from __future__ import annotations

__all__ = ["Refused"]


class Refused(RuntimeError):
    """Nothing (more) was changed; the message says why and names the remedy."""
