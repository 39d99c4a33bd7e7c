"""Bases with tables of their own: several apps are tested in one process, and one's models are not another's."""

from __future__ import annotations

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from toque.store.models import NAMES, Conventions

__all__ = ["LibraryBase", "ShopBase"]


class ShopBase(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)


class LibraryBase(Conventions, DeclarativeBase):
    metadata = MetaData(naming_convention=NAMES)
