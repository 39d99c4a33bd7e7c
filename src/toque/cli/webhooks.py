"""`toque webhooks`: the endpoints that an app sends its events to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from cyclopts import App, Parameter

from toque.cli.databases import in_store, place_of
from toque.cli.failures import Failure
from toque.cli.operations import Optional
from toque.cli.parameters import AppTarget
from toque.cli.serve import settings_for
from toque.cli.tables import Format, show
from toque.cli.target import load_app

if TYPE_CHECKING:
    from toque.messages.webhooks.endpoints import Endpoint, Endpoints

__all__ = ["webhooks"]

T = TypeVar("T")

webhooks = App(name="webhooks", help="See and change the endpoints that an app sends its events to.")

Id = Annotated[str, Parameter(help="The endpoint's id, as `list` shows it.")]
ID_CHARS = 35


@webhooks.command(name="list")
def list_(app: AppTarget = ".", *, format: Format = "table") -> None:
    """List the endpoints, those of every tenant.

    - `toque webhooks list shop`

    Args:
        format: For people, or for programs.
    """
    found = _act(app, lambda endpoints: endpoints.all())
    show(format, found, ("id", "url", "events", "tenant", "state"), list(map(_row, found)), whole=ID_CHARS)


@webhooks.command
def add(
    url: str,
    /,
    *,
    app: AppTarget = ".",
    type: Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)] = (),
    tenant: Optional = "",
    kind: Literal["hmac", "ed25519"] = "hmac",
) -> None:
    """Send events to URL from now on, and print the key that its owner verifies with: it is shown this once.

    - `toque webhooks add https://parcels.example/hooks --type OrderPlaced --app shop`

    Args:
        type: An event that it hears of; may be given several times. All that the app sends unless given.
        tenant: Whose events it hears of; everybody's unless given.
        kind: A secret that both sides have, or a key that only the app has.
    """
    endpoint, key = _act(app, lambda endpoints: endpoints.add(url, type, tenant=tenant, kind=kind))
    print(f"{endpoint.id} hears of {', '.join(endpoint.types) or 'all that is sent'}")
    print(f"key: {key}")


@webhooks.command
def rotate(id: Id, /, *, app: AppTarget = ".", kept: Annotated[float, Parameter(name="--kept-hours")] = 24.0) -> None:
    """Sign with a new key, and print what the owner of the endpoint ID verifies with.

    - `toque webhooks rotate ep_0192 --app shop`

    Args:
        kept: Hours for which the present key signs too; 0 where it is known to others.
    """
    key = _act(app, lambda endpoints: endpoints.rotate(id, kept_s=kept * 3600))
    print(f"key: {key}")


@webhooks.command
def disable(id: Id, /, *, app: AppTarget = ".", reason: Optional = "by the command line") -> None:
    """Send nothing more to the endpoint ID; what waits for it waits on, up to a week.

    - `toque webhooks disable ep_0192 --app shop`

    Args:
        reason: What its owner reads.
    """
    _act(app, lambda endpoints: endpoints.set_state(id, "disabled", reason))
    print(f"{id} is disabled")


@webhooks.command
def enable(id: Id, /, *, app: AppTarget = ".") -> None:
    """Send to the endpoint ID again, and what waits for it too: within a minute.

    - `toque webhooks enable ep_0192 --app shop`
    """
    _act(app, lambda endpoints: endpoints.set_state(id, "enabled"))
    print(f"{id} is enabled")


@webhooks.command
def retry(id: Id, /, *, app: AppTarget = ".") -> None:
    """Deliver anew what was given up at the endpoint ID: within a minute.

    - `toque webhooks retry ep_0192 --app shop`
    """
    print(f"{_act(app, lambda endpoints: endpoints.retry(id))} deliveries are due again")


@webhooks.command
def remove(id: Id, /, *, app: AppTarget = ".") -> None:
    """Forget the endpoint ID, its keys and all that waits for it.

    - `toque webhooks remove ep_0192 --app shop`
    """
    _act(app, lambda endpoints: endpoints.remove(id))
    print(f"{id} is removed")


@webhooks.command(name="test")
def send_test(id: Id, /, *, app: AppTarget = ".") -> int:
    """Send a test message (`toque.Test`) to the endpoint ID now, once, and say what became of it.

    - `toque webhooks test ep_0192 --app shop`
    """
    from toque.http_client.outgoing import Outgoing
    from toque.log.append import uuid7
    from toque.messages.webhooks.fan_out import body_of
    from toque.messages.webhooks.sending import Message, deliver

    settings = settings_for(load_app(app))
    endpoint, keys = _act(app, lambda endpoints: _with_keys(endpoints, id))
    message = Message(f"msg_{uuid7().hex}", body_of("toque.Test", time.time(), b"{}").encode())

    async def send() -> int:
        outgoing = Outgoing(settings.http_client)
        try:
            outcome = await deliver(outgoing, endpoint.url, keys, message, settings.webhooks.timeout_s)
        finally:
            await outgoing.stop()
        status = "" if outcome.status is None else f" with status {outcome.status}"
        print(f"{outcome.verdict}{status}" + (f": {outcome.reason}" if outcome.reason else ""))
        return 0 if outcome.verdict == "delivered" else 1

    return asyncio.run(send())


async def _with_keys(endpoints: Endpoints, id: str) -> tuple[Endpoint, tuple[str, ...]]:
    return await endpoints.find(id), await endpoints.keys(id)


def _act(target: str, act: Callable[[Endpoints], Awaitable[T]]) -> T:
    """What *act* makes of the endpoints of the app that *target* names, in one transaction."""
    from toque.http_client.outgoing import Outgoing
    from toque.messages.webhooks.endpoints import Endpoints, Rules
    from toque.store.database import Database, transaction_of

    app, settings, url = place_of(target)
    sent = frozenset(event.type_name() for module in app.modules for event in module.sent)
    if not sent:
        raise Failure(f"{app.name} sends no events; name them with app.sends(OrderPlaced)")
    rules = Rules(sent, not settings.is_production, Outgoing(settings.http_client).check)

    async def within(database: Database) -> T:
        return await act(Endpoints(transaction_of(database), None, rules))

    return in_store(url, lambda store: store.command(within))


def _row(one: Endpoint) -> tuple[str, ...]:
    state = one.state + (f": {one.reason}" if one.reason else "")
    if one.failing_since is not None and one.state == "enabled":
        state = f"failing since {datetime.fromtimestamp(one.failing_since, UTC):%Y-%m-%d %H:%M} UTC"
    return one.id, one.url, ", ".join(one.types) or "all", one.tenant, state
