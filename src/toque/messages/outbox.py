"""The outbox: events that exist if, and only if, the command that publishes them is committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from toque.contract.conversion import enc_hook
from toque.contract.event import Event
from toque.log.append import append
from toque.messages.behalf import headers_of
from toque.store.database import transaction_of
from toque.store.transaction import READS

if TYPE_CHECKING:
    from toque.call.context import Context

__all__ = ["DATA_BYTES_MAX", "KEY_CHARS_MAX", "Bell", "Outbox", "key_text"]

DATA_BYTES_MAX = 256 * 1024
"""The largest event: what the strictest of the usual carriers takes (Amazon SQS and SNS, Azure Service Bus). Who has
more to say publishes where it is found."""

KEY_CHARS_MAX = 255
"""The longest key: what every database and broker takes."""

_encode = msgspec.json.Encoder(enc_hook=enc_hook).encode


class Bell:
    """Tells those who follow the log of a commit; silent until somebody does."""

    def __init__(self) -> None:
        self.ring: Callable[[], None] = lambda: None


class Outbox:
    """What an operation asks for by type to publish events."""

    __slots__ = ("_bell", "_context", "_is_used", "_transaction")

    def __init__(self, context: Context, bell: Bell) -> None:
        assert context.database is not None, "the transact policy stands around whoever asks for it"
        self._context = context
        self._transaction = transaction_of(context.database)
        self._bell = bell
        self._is_used = False

    def publish(self, event: Event, *, key: str | UUID | int = "") -> UUID:
        """Publish *event* together with what the command changes; returns its id.

        Args:
            key: events with one key are handled in the order in which their commands were committed, if these wait for
                one another (as two do that change one row). Without one they are in no order.
        Raises: ValueError where it is larger than `DATA_BYTES_MAX`, or the key longer than `KEY_CHARS_MAX`; TypeError
            where the key is None or no key.
        """
        if not self._transaction.is_command:
            raise PermissionError(READS)
        data, key = _encode(event), key_text(key)
        if len(data) > DATA_BYTES_MAX:
            raise ValueError(f"an event has at most {DATA_BYTES_MAX} bytes, and this one has {len(data)}")
        if not self._is_used:
            self._is_used = True
            self._transaction.after.append(self._bell.ring)
        return append(
            self._transaction,
            event.type_name(),
            event.__version__,
            key=key,
            headers=headers_of(self._context),
            data=data,
        )


def key_text(key: object, name: str = "key") -> str:
    """*key*, the argument *name*, as text that every database and broker takes. Raises: TypeError, ValueError."""
    # None would be a key like any other, and whatever has it would wait for the rest of it.
    if not isinstance(key, (str, UUID, int)):
        raise TypeError(f"{name}= is text, a UUID or a whole number, got {key!r}; leave it out where there is none")
    text = str(key)
    if len(text) > KEY_CHARS_MAX:
        raise ValueError(f"{name}= has at most {KEY_CHARS_MAX} characters, and this one has {len(text)}")
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError(f"{name}= has no NUL and no half of a character, got {text[:60]!r}")
    return text
