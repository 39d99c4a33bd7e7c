"""The database of the app that a command is about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from toque.cli.failures import Failure
from toque.cli.serve import settings_for
from toque.cli.target import load_app
from toque.serving import database_url

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from toque.app import App
    from toque.settings import Settings
    from toque.store import Store

__all__ = ["Kept", "checked", "database_of", "in_store", "moved", "place_of"]

T = TypeVar("T")


class Kept(NamedTuple):
    """An app and where its data is."""

    app: App
    settings: Settings
    url: str
    metadata: MetaData


def place_of(target: str) -> tuple[App, Settings, str]:
    """An app, its settings, and the address of its database. Raises: Failure with code 2 where that is none."""
    app = load_app(target)
    settings = settings_for(app)
    return app, settings, checked(database_url(settings, app.folder), "database.url")


def database_of(target: str) -> Kept:
    """Raises: Failure where the app has no models, or its address is none."""
    app = load_app(target)
    if app.metadata is None:
        raise Failure(f"{app.name} has no models, so it has no data of its own")
    settings = settings_for(app)
    return Kept(app, settings, checked(database_url(settings, app.folder), "database.url", code=1), app.metadata)


def in_store(url: str, act: Callable[[Store], Awaitable[T]]) -> T:
    """What *act* makes of the database at *url*, open for it. Raises: Failure where it lacks Toque's own tables."""
    from toque.messages.tables import complaints
    from toque.store import open_store

    async def run() -> T:
        for complaint in await complaints(url):
            raise Failure(str(complaint))
        store = open_store(url)
        await store.start()
        try:
            return await act(store)
        finally:
            await store.stop()

    return asyncio.run(run())


def moved(work: Coroutine[Any, Any, T]) -> T:
    """What *work* on all of an app's data comes to. Raises: Failure in the words of whatever stood in the way."""
    from toque.contract.errors import Error
    from toque.store.moving.site import MovingError
    from toque.store.sqlite_errors import translate

    try:
        return asyncio.run(work)
    except (MovingError, OSError) as error:
        raise Failure(str(error)) from error
    except Exception as error:
        told = translate(error)
        if told is error or not isinstance(told, Error):
            raise
        raise Failure(str(told)) from error


def checked(url: str, name: str, *, code: int = 2) -> str:
    """*url*, if it is one of a database. Raises: Failure with *code*, calling it *name*: 2 for a wrong command."""
    from toque.store import open_store

    try:
        open_store(url)
    except ValueError as error:
        raise Failure(f"{name}: {error}", code=code) from None
    return url
