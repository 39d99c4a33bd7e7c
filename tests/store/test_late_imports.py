"""An app without models must not pay for SQLAlchemy."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import toque.store
from toque.store import Database, Store, open_store
from toque.store.database import Database
heavy = {"sqlalchemy", "asyncpg", "alembic", "greenlet"} & sys.modules.keys()
assert not heavy, heavy
from toque.store import Model
assert "sqlalchemy" in sys.modules and "alembic" not in sys.modules
"""


def test_importing_the_store_imports_no_sqlalchemy() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
