"""The database behind an app: models, statements, transactions, migrations.

Names are looked up late, because a model needs SQLAlchemy and an app without models must never import it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from toque.store.database import AllRows, Database
from toque.store.sql import Sql
from toque.store.statement import Statement, StatementObserver
from toque.store.store import Store, open_store

if TYPE_CHECKING:
    from toque.store.facts import Me as Me
    from toque.store.models import Model as Model
    from toque.store.rows import SHARED as SHARED
    from toque.store.rows import Rows as Rows
    from toque.store.rows import declare as declare

__all__ = [
    "SHARED",
    "AllRows",
    "Database",
    "Me",
    "Model",
    "Rows",
    "Sql",
    "Statement",
    "StatementObserver",
    "Store",
    "declare",
    "open_store",
]

_ROWS = "toque.store.rows"
_LATE = {"Me": "toque.store.facts", "Model": "toque.store.models", "Rows": _ROWS, "SHARED": _ROWS, "declare": _ROWS}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; known: {', '.join(__all__)}")
    return getattr(import_module(_LATE[name]), name)
