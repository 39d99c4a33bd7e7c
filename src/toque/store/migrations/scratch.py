"""An empty database to try things in: the models' tables, to see what the database writes down of them, and then the
migrations. Comparing these compares like with like; nobody's real database has a part in it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, make_url
from sqlalchemy.exc import ProgrammingError

from toque.store.migrations.refused import Refused
from toque.store.migrations.session import autocommit, in_session, own_transaction

__all__ = ["scratch"]

_PREFIX = "toque_scratch"
"""Of its name, with the process that it is for."""


@asynccontextmanager
async def scratch(url: str) -> AsyncIterator[str]:
    """An empty database of the kind of *url*, gone at the end.

    On PostgreSQL it is a database beside the real one, with its extensions: schemas, types and CONCURRENTLY work
    there as they will in earnest. Raises: Refused without the right to make one.
    """
    if url.startswith("sqlite"):
        with TemporaryDirectory(prefix="toque-") as folder:
            yield f"sqlite:///{Path(folder) / 'scratch.db'}"
        return
    name = f"{_PREFIX}_{os.getpid()}"
    extensions = await in_session(url, partial(_create, name))
    try:
        address = make_url(url).set(database=name).render_as_string(hide_password=False)
        if extensions:
            await in_session(address, partial(_extend, extensions))
        yield address
    finally:
        await in_session(url, partial(_drop, name))


def _create(name: str, connection: Connection) -> list[str]:
    try:
        with autocommit(connection):
            connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            connection.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE template0')
    except ProgrammingError as error:
        raise Refused(
            f"migrations are tried in a database of their own: {str(error.orig).rpartition(': ')[2]}. "
            "Let this role make databases (ALTER ROLE ... CREATEDB), or use a development database for this."
        ) from error
    with own_transaction(connection):
        found = connection.exec_driver_sql("SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'")
        return list(found.scalars())


def _extend(extensions: list[str], connection: Connection) -> None:
    with connection.begin():
        for name in extensions:
            connection.exec_driver_sql(f'CREATE EXTENSION IF NOT EXISTS "{name}" CASCADE')


def _drop(name: str, connection: Connection) -> None:
    with autocommit(connection):
        connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
