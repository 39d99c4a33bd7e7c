"""What an operation asks for by type to let its callers subscribe to events."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from toque.contract.event import Event
from toque.messages.webhooks.endpoints import ROTATION_S, Endpoint, Endpoints, Rules
from toque.store.database import transaction_of

if TYPE_CHECKING:
    from toque.call.context import Context
    from toque.messages.outbox import Bell

__all__ = ["NewEndpoint", "Webhooks"]


class NewEndpoint(Struct, frozen=True):
    """An endpoint and its key, which nobody can ask for again."""

    endpoint: Endpoint
    key: str
    """What its owner verifies with: `whsec_...`, or `whpk_...` for Ed25519."""


class Webhooks:
    """The endpoints of the caller's tenant. What is changed is a part of the command's transaction.

    An endpoint hears of the events that the app sends (`app.sends(...)`) and that were published on behalf of its
    tenant; one of a caller without a tenant is the app's own, and hears of all.
    """

    __slots__ = ("_bell", "_endpoints", "_tenant", "_transaction")

    def __init__(self, context: Context, rules: Rules, bell: Bell) -> None:
        assert context.database is not None, "the transact policy stands around whoever asks for it"
        self._tenant = context.tenant
        self._transaction = transaction_of(context.database)
        self._endpoints = Endpoints(self._transaction, context.tenant, rules)
        self._bell = bell

    async def add(
        self, url: str, types: Collection[type[Event] | str] = (), *, kind: Literal["hmac", "ed25519"] = "hmac"
    ) -> NewEndpoint:
        """Send events to *url* from now on.

        Args:
            types: the events that it hears of; all that the app sends unless given.
            kind: `hmac` for a secret that both sides have, `ed25519` for a key that only this side has.
        Raises: Invalid for a URL that is none, is not https:// in production, or an event that is not sent;
            AddressRefused for an address that is closed; Conflict where there are too many.
        """
        names = [one if isinstance(one, str) else one.type_name() for one in types]
        return NewEndpoint(*await self._endpoints.add(url, names, tenant=self._tenant, kind=kind))

    async def all(self) -> list[Endpoint]:
        """The tenant's endpoints, the oldest first."""
        return await self._endpoints.all()

    async def find(self, id: str) -> Endpoint:
        """Raises: NotFound."""
        return await self._endpoints.find(id)

    async def rotate(self, id: str, *, kept_s: float = ROTATION_S) -> str:
        """Sign with a new key, which is returned, and for *kept_s* seconds with the present one too.

        Raises: NotFound.
        """
        return await self._endpoints.rotate(id, kept_s=kept_s)

    async def disable(self, id: str, reason: str = "") -> None:
        """Send it nothing more. What waits for it goes on waiting, up to a week. Raises: NotFound."""
        await self._endpoints.set_state(id, "disabled", reason)

    async def enable(self, id: str) -> None:
        """Send to it again. Raises: NotFound."""
        await self._endpoints.set_state(id, "enabled")
        self._transaction.after.append(self._bell.ring)

    async def retry(self, id: str) -> int:
        """Deliver anew what was given up, up to a week ago; how many. Raises: NotFound."""
        count = await self._endpoints.retry(id)
        self._transaction.after.append(self._bell.ring)
        return count

    async def remove(self, id: str) -> None:
        """Forget it, its keys and all that waits for it. Raises: NotFound."""
        await self._endpoints.remove(id)
