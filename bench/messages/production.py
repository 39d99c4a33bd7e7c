"""Settings of production: what watches over statements in development would be measured too."""

from __future__ import annotations

from typing import Any

from toque.settings import App, Http, Settings

__all__ = ["in_production"]


def in_production(**sections: Any) -> Settings:
    return Settings(app=App(environment="production"), http=Http(hosts=("localhost",)), **sections)
