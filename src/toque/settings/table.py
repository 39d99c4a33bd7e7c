"""All settings as rows, for `toque settings`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from toque.settings import tree
from toque.settings.secret import MASK, Secret
from toque.settings.tree import SECTIONS, Settings

__all__ = ["Row", "describe"]


class Row(NamedTuple):
    """One setting as a reader sees it."""

    name: str
    value: str
    source: str
    doc: str


def describe(settings: Settings) -> Iterator[Row]:
    """Every setting: its name, its value (secrets masked), where that came from and what it does."""
    docs = _docs()
    for section, tp in SECTIONS.items():
        for field in tp.__struct_fields__:
            name = f"{section}.{field}"
            value = getattr(getattr(settings, section), field)
            shown = _address(value) if name == "database.url" else _shown(value)
            yield Row(name, shown, settings.sources.get(name, "default"), docs.get((tp.__name__, field), ""))


def _docs() -> Mapping[tuple[str, str], str]:
    """The text below each setting in its section, which only the source has."""
    import ast

    source = ast.parse(Path(tree.__file__).read_text(encoding="utf-8"))
    found: dict[tuple[str, str], str] = {}
    for section in (node for node in source.body if isinstance(node, ast.ClassDef)):
        for setting, text in pairwise(section.body):
            match setting, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                    found[section.name, name] = " ".join(doc.split())
    return found


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _address(url: Secret) -> str:
    """Of a secret address, what says where it leads; user, password and parameters are masked."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url.reveal())
    except ValueError:
        return MASK
    if "://" not in url:
        return str(url)
    user, _, host = parts.netloc.rpartition("@")
    hidden = MASK + "@" if user else ""
    return f"{parts.scheme}://{hidden}{host}{parts.path}" + (f"?{MASK}" if parts.query else "")
