"""From what modules declare and settings say to what operations are made of: read and checked, not compiled yet."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from toque.call.context import Context
from toque.call.delivery import Delivery
from toque.call.resources import Pantry, Provider
from toque.contract.access import Access
from toque.contract.complaints import Complaint
from toque.contract.event import Event
from toque.contract.module import Module
from toque.contract.operation import Operation
from toque.http_client.outgoing import Outgoing
from toque.message_checks import is_event
from toque.security.credentials import Verifier
from toque.security.development import DevelopmentTokens
from toque.settings import Settings
from toque.store.database import DATABASES, AllRows, Database
from toque.store.insight.slow import SlowStatements
from toque.store.insight.statistics import Statistics
from toque.system.caching import problems_of_caching
from toque.system.declared import Declared, read_declared
from toque.system.following import keyring_of, problems_with
from toque.system.stores import Tables, ears_of, guard_of, store_of
from toque.system.workshop import transacts

if TYPE_CHECKING:
    from toque.messages.webhooks.incoming import Keyring
    from toque.store.guard import Guard
    from toque.store.release import Release
    from toque.store.store import Store
    from toque.system.sending import Sending

__all__ = ["Draft", "draft_of"]


class Draft(Struct, frozen=True, eq=False):
    """An app as it was declared, with what its operations are made of; nothing is compiled yet."""

    modules: Sequence[Module]
    settings: Settings
    declared: Declared
    pantry: Pantry
    store: Store | None
    guard: Guard | None
    ears: tuple[SlowStatements | Statistics, ...]
    verifier: Verifier
    keyring: Keyring | None
    outgoing: Outgoing
    sending: Sending | None
    sent: tuple[type[Event], ...]
    """What webhooks carry out."""
    sent_names: frozenset[str]
    transacted: tuple[type, ...]
    """What an operation asks for that needs a snapshot or a transaction."""
    has_messages: bool


def draft_of(
    modules: Sequence[Module],
    settings: Settings,
    database_url: str,
    release: Release | None,
    *,
    tables: Tables | None,
    wrong: list[Complaint],
) -> Draft:
    """Read all that *modules* declare; what is wrong with it joins *wrong*."""
    sent = tuple(dict.fromkeys(event for module in modules for event in module.sent if is_event(event)))
    sent_names = frozenset(event.type_name() for event in sent)
    outgoing, sending = Outgoing(settings.http_client), _sending(modules)
    requesting = _requesting(outgoing, sending)
    pantry = Pantry(
        {
            Database: _database,
            AllRows: _all_rows,
            Delivery: lambda context: context.delivery,
            **requesting,
            **({} if sending is None else sending.at_hand(sent_names, outgoing, takes_http=not settings.is_production)),
        },
        given=[settings, DevelopmentTokens(settings)],
    )
    declared = read_declared(modules, pantry, wrong)
    verifier = Verifier(settings)
    if any(_takes_tokens(found) for found, _ in declared.operations):
        wrong += verifier.check()
    keyring = keyring_of(settings, [found for found, _ in declared.operations], wrong)
    wrong += outgoing.problems(is_used=declared.needs(*requesting) or bool(sent))
    has_messages, transacted = False, tuple[type, ...](DATABASES)
    if sending is not None:
        from toque.system.lost_jobs import lost_jobs

        has_messages = bool(declared.handlers or declared.jobs or sent) or declared.needs(*sending.publishing)
        transacted += sending.transacted
        wrong += lost_jobs(declared)
    store, ears = None, tuple(ears_of(settings, database_url))
    guard = guard_of(tables, wrong)
    if has_messages or any(transacts(pantry, *each, transacted) for each in (*declared.operations, *declared.seeds)):
        store = store_of(settings, database_url, release, guard, ears=ears, wrong=wrong)
    if has_messages:
        wrong += problems_with(settings)
    if store is not None:
        wrong += problems_of_caching(settings, store)
    return Draft(
        modules=modules,
        settings=settings,
        declared=declared,
        pantry=pantry,
        store=store,
        guard=guard,
        ears=ears,
        verifier=verifier,
        keyring=keyring,
        outgoing=outgoing,
        sending=sending,
        sent=sent,
        sent_names=sent_names,
        transacted=transacted,
        has_messages=has_messages,
    )


def _sending(modules: Sequence[Module]) -> Sending | None:
    """What operations ask for to cause messages; None where none of it is loaded: who asks for a type imports it."""
    declares = any(module.handlers or module.jobs or module.sent for module in modules)
    if not declares and "toque.messages" not in sys.modules:
        return None
    from toque.system.sending import Sending

    return Sending()


def _requesting(outgoing: Outgoing, sending: Sending | None) -> dict[type, Provider]:
    """What operations ask for to send requests; nothing where it is not loaded.

    Durable steps are compiled while their job runs, and may come with modules that are loaded then.
    """
    if sending is None and "toque.http_client.client" not in sys.modules:
        return {}
    from toque.http_client.client import HttpClient

    return {HttpClient: lambda context: HttpClient(context, outgoing)}


def _takes_tokens(operation: Operation) -> bool:
    access = operation.allow
    return isinstance(access, Access) and access.needs_principal and access.takes_tokens


def _database(context: Context) -> Database | None:
    return context.database


def _all_rows(context: Context) -> AllRows | None:
    return None if context.database is None else AllRows.of(context.database)
