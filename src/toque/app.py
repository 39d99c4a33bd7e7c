"""An app: modules and settings, served."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toque.contract.module import Module
from toque.serving import Serving
from toque.settings import Settings, load
from toque.store.sql import Sql

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.transports.asgi import AsgiApplication

__all__ = ["App"]


class App(Module):
    """A named set of modules that is served as one. It is a module itself, so a small app needs no other.

    It is an ASGI 3 and an RSGI application too: any server of either kind can run it, and any ASGI app can mount it.

    Args:
        name: the first part of the names of the app's own operations: `restaurant.place_order`.
        modules: further modules.
        version: the app's own version, for its documents.
        description: what the app is for, in Markdown.
        settings: instead of those from `toque.toml` and the environment.
        metadata: the tables, where the models are not made from `toque.Model`.
        sql: the functions, operators and texts that statements may hold beside what is known to be harmless.
    """

    def __init__(
        self,
        name: str,
        *,
        modules: Sequence[Module] = (),
        version: str = "0.1.0",
        description: str = "",
        settings: Settings | None = None,
        metadata: MetaData | None = None,
        sql: Sql | None = None,
    ) -> None:
        super().__init__(name)
        file = sys._getframe(1).f_globals.get("__file__")
        self.folder = Path(file).resolve().parent if file else Path.cwd()
        self.modules: list[Module] = [self]
        for module in modules:
            self.include(module)
        self.version = version
        self.description = description
        self.given_settings = settings
        self._metadata = metadata
        self.sql = sql or Sql()
        self._serving: Serving | None = None
        self._asgi: AsgiApplication | None = None

    def include(self, module: Module) -> None:
        """Add *module*, before the app is first served."""
        if not isinstance(module, Module):
            raise TypeError(f"{self.name} includes modules, made by Module(...); got {module!r}")
        self.modules.append(module)

    @property
    def metadata(self) -> MetaData | None:
        """The app's tables; None where no model was ever declared."""
        if self._metadata is None and (models := sys.modules.get("toque.store.models")) is not None:
            self._metadata = models.Model.metadata
        if any(operation.is_idempotent for module in self.modules for operation in module.operations):
            self._metadata = self._with_replies(self._metadata)
        return self._metadata

    @staticmethod
    def _with_replies(metadata: MetaData | None) -> MetaData:
        """*metadata* with the table in which the answers of idempotent commands are kept."""
        from toque.store.models import Model
        from toque.store.replies import add_table

        metadata = Model.metadata if metadata is None else metadata
        add_table(metadata)
        return metadata

    def settings(self) -> Settings:
        """The settings given, or those of `toque.toml` and the environment. Raises: SettingsError."""
        return self.given_settings or load(self.folder, os.environ, {})

    def serve(self, settings: Settings | None = None) -> Serving:
        """The app, compiled anew with *settings*.

        Raises: SetupError with all that is wrong; SettingsError.
        """
        return Serving(self, settings or self.settings())

    @property
    def serving(self) -> Serving:
        """The app, compiled once, for servers that are given the app itself."""
        if self._serving is None:
            self._serving = self.serve()
        return self._serving

    @property
    def __rsgi__(self) -> Callable[[Any, Any], Awaitable[None]]:
        return self.serving.edge

    @property
    def __rsgi_init__(self) -> Callable[..., None]:
        return self.serving.__rsgi_init__

    @property
    def __rsgi_del__(self) -> Callable[..., None]:
        return self.serving.__rsgi_del__

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI 3."""
        await self._as_asgi()(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self, outer: object) -> AsyncIterator[None]:
        """Live as long as *outer*, which mounts this app and hands its own lifespan on to nobody:
        `FastAPI(lifespan=app.lifespan)`."""
        application = self._as_asgi()
        await application.start()
        try:
            yield
        finally:
            await application.stop()

    def _as_asgi(self) -> AsgiApplication:
        if self._asgi is None:
            from toque.transports.asgi import AsgiApplication

            self._asgi = AsgiApplication(self.serving.edge, self.serving.start, self.serving.stop)
        return self._asgi
