"""What operations ask for by type to cause messages. It is loaded for apps that may ask for it."""

from __future__ import annotations

from functools import partial

from toque.call.resources import Provider
from toque.http_client.outgoing import Outgoing
from toque.messages.jobs.book import Book
from toque.messages.jobs.jobs import Jobs
from toque.messages.jobs.progress import Progress
from toque.messages.jobs.steps import Steps
from toque.messages.outbox import Bell, Outbox
from toque.messages.webhooks.endpoints import Rules
from toque.messages.webhooks.webhooks import Webhooks

__all__ = ["Sending"]


class Sending:
    """The way of one app's operations into its log."""

    publishing: tuple[type, ...] = (Outbox, Webhooks)
    """What an app asks for only if it has events."""
    transacted: tuple[type, ...] = (Outbox, Jobs, Webhooks)
    """What needs a snapshot or a transaction."""

    def __init__(self) -> None:
        self.bell = Bell()
        self.book = Book()

    def at_hand(self, sent: frozenset[str], outgoing: Outgoing, *, takes_http: bool) -> dict[type, Provider]:
        """How each is had; webhooks carry the events *sent* through *outgoing*, to http:// too where *takes_http*."""
        bell, book = self.bell, self.book
        rules = Rules(sent, takes_http, outgoing.check)
        return {
            Outbox: lambda context: Outbox(context, bell),
            Jobs: lambda context: Jobs(context, book, bell),
            Steps: lambda context: Steps(context, book),
            Progress: lambda context: Progress(context, book),
            Webhooks: partial(Webhooks, rules=rules, bell=bell),
        }
