"""One frozen tree of typed settings, and the only reader of environment and settings files.

`toque.toml` first, then the environment (`TOQUE_HTTP_PORT`), then the command line: the later wins.
"""

from toque.settings.rules import problems
from toque.settings.secret import Secret
from toque.settings.sources import SettingsError, load
from toque.settings.table import Row, describe
from toque.settings.tree import (
    App,
    Auth,
    Cache,
    Calls,
    Database,
    Http,
    HttpClient,
    Live,
    Log,
    Messages,
    Observe,
    Settings,
    Webhooks,
)

__all__ = [
    "App",
    "Auth",
    "Cache",
    "Calls",
    "Database",
    "Http",
    "HttpClient",
    "Live",
    "Log",
    "Messages",
    "Observe",
    "Row",
    "Secret",
    "Settings",
    "SettingsError",
    "Webhooks",
    "describe",
    "load",
    "problems",
]
