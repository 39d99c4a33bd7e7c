"""An app as in production: what watches over statements in development would be measured too."""

from __future__ import annotations

from typing import Any

from toque.cli import garbage
from toque.settings import App, Http, Settings

__all__ = ["in_production"]


def in_production(**sections: Any) -> Settings:
    """Settings for it, in a process whose garbage collector is as `toque run` and `toque worker` have it."""
    garbage.spare()
    return Settings(app=App(environment="production"), http=Http(hosts=("localhost",)), **sections)
