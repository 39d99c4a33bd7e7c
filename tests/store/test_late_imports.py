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


SERVED = """
import sys
from toque import App, public
from toque.settings import Settings
app = App("plain")

@app.query("/hello", allow=public)
async def hello() -> str:
    return "hello"

serving = app.serve(Settings())
serving.system
import toque.transports.http, toque.transports.jsonrpc, toque.transports.websocket
heavy = {"sqlalchemy", "asyncpg", "alembic", "httpcore2"} & sys.modules.keys()
assert not heavy, heavy
"""


def test_an_app_without_models_is_served_without_sqlalchemy() -> None:
    done = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
