"""What all requests of an app share: connections, retry budgets and what was opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from toque.contract.complaints import Complaint
from toque.http_client.budget import Budgets

if TYPE_CHECKING:
    from toque.http_client.resolving import Resolver
    from toque.http_client.target import Target
    from toque.http_client.wire import Wire
    from toque.settings.tree import HttpClient as ClientSettings

__all__ = ["Outgoing"]


class Outgoing:
    """The way out of one app; nothing of it exists until the first request."""

    def __init__(self, settings: ClientSettings, resolver: Resolver | None = None) -> None:
        """*resolver* instead of the machine's own."""
        self.settings = settings
        self.budgets = Budgets()
        self._resolver = resolver
        self._wire: Wire | None = None

    def problems(self, *, is_used: bool) -> Iterator[Complaint]:
        """What keeps an app from starting with these settings; *is_used* where one of its operations sends requests."""
        if self.settings.allow:
            yield from _problems_of_allowance(self.settings.allow)
        if self.settings.ca_file is not None and not self.settings.ca_file.is_file():
            yield Complaint("http_client.ca_file", f"there is no file {self.settings.ca_file}")
        if is_used and not (find_spec("httpcore2") and find_spec("anyio")):
            yield Complaint("http_client", "requests need httpcore2, which is not there", "pip install 'toque[http]'")

    def check(self, target: Target) -> None:
        """See that *target* is not written as a closed address; a name is asked for its own when it is dialled.

        Raises: AddressRefused.
        """
        from toque.http_client.addresses import literal
        from toque.http_client.allowance import Allowance
        from toque.http_client.failures import AddressRefused

        address = literal(target.host)
        if address is not None:
            why = Allowance(self.settings.allow).why_refused(target.host, target.port, address)
            if why is not None:
                raise AddressRefused(target.authority, why, "; http_client.allow opens addresses")

    @property
    def wire(self) -> Wire:
        """The connections, made at their first use."""
        if self._wire is None:
            from toque.http_client.allowance import Allowance
            from toque.http_client.resolving import SystemResolver
            from toque.http_client.wire import Wire

            self._wire = Wire(
                self._resolver or SystemResolver(),
                Allowance(self.settings.allow),
                connections_max=self.settings.connections_max,
                ca_file=self.settings.ca_file,
            )
        return self._wire

    async def stop(self) -> None:
        """Close what is open."""
        wire, self._wire = self._wire, None
        if wire is not None:
            await wire.close()


def _problems_of_allowance(allow: Iterable[str]) -> Iterator[Complaint]:
    from toque.http_client.allowance import read_entry

    for text in allow:
        try:
            read_entry(text)
        except ValueError as error:
            yield Complaint("http_client.allow", str(error), "write billing.internal, 10.0.0.0/8 or [::1]:8080")
