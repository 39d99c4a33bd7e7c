"""The tables of docs/reference that are made from the code: `python tests/docs/tables.py` writes them anew.

A table stands between `<!-- made: NAME -->` and `<!-- end -->`; the text around it is written by hand.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from pages import ROOT

import toque
from toque import testing
from toque.cli.commands import cli
from toque.contract.access import Access
from toque.contract.errors import CODES, Error
from toque.settings import Settings, describe
from toque.settings.tree import SECTIONS, type_of
from toque.settings.words import expected

_MARK = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

REFERENCE = ROOT / "docs" / "reference"


def settings() -> Iterator[str]:
    rows = list(describe(Settings()))
    for section, tp in SECTIONS.items():
        yield f"### {section}\n\n{tp.__doc__}\n\n"
        yield from _table(("setting", "environment", "default", "takes", "meaning"), _settings_of(section, rows))
        yield "\n"


def _settings_of(section: str, rows: Iterable[Any]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        of, _, name = row.name.partition(".")
        if of == section:
            value = f"`{row.value}`" if row.value else "none"
            takes = expected(type_of(of, name).annotation)
            yield f"`{row.name}`", f"`TOQUE_{of}_{name}`".upper(), value, takes, row.doc


def errors() -> Iterator[str]:
    classes = {one.code: one.__name__ for one in _all_errors() if one.__module__ == Error.__module__}
    rows = (
        (
            f"`{c.name}`",
            str(c.http),
            str(c.rpc),
            f"`{c.grpc}`",
            "yes" if c.is_retryable else "",
            _class(classes, c.name),
            c.title,
        )
        for c in CODES.values()
    )
    yield from _table(("code", "HTTP", "JSON-RPC", "gRPC", "worth retrying", "class", "title"), rows)


def _class(classes: Mapping[str, str], code: str) -> str:
    name = classes.get(code, "")
    return f"`{name}`" if name else "none yet"


def _all_errors() -> Iterator[type[Error]]:
    return (
        found
        for found in vars(inspect.getmodule(Error)).values()
        if isinstance(found, type) and issubclass(found, Error) and found is not Error
    )


def names() -> Iterator[str]:
    for module in (toque, testing):
        yield f"### `{module.__name__}`\n\n"
        yield from _table(("name", "lives in", "is"), _names_of(module))
        yield "\n"


def _names_of(module: Any) -> Iterator[tuple[str, str, str]]:
    for name in sorted(module.__all__, key=str.lower):
        found = getattr(module, name)
        home = _home_of(module, name)
        yield f"`{name}`", f"`{home}`", _said_of(found, name, home)


def _home_of(module: Any, name: str) -> str:
    home: str = getattr(module, "_HOME", {}).get(name) or f"{module.__name__}.{module._HOMES[name]}"
    return home


def _said_of(found: Any, name: str, home: str) -> str:
    if isinstance(found, Access):
        return f"An access rule: {found.words}."
    if home == "msgspec":
        return f"msgspec's `{name}`, as it is."
    text = inspect.getdoc(found) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


def commands() -> Iterator[str]:
    text = cli.generate_docs(output_format="markdown", heading_level=2)
    # In front of the first command stands a table of contents.
    yield text[text.index("\n### ") :]


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n"


MADE: Mapping[str, Callable[[], Iterator[str]]] = {
    "settings": settings,
    "errors": errors,
    "names": names,
    "commands": commands,
}


def rewritten(text: str) -> str:
    """*text* with every table made anew."""

    def made(found: re.Match[str]) -> str:
        return f"{found[1]}\n{''.join(MADE[found[2]]()).strip()}\n\n{found[3]}"

    return _MARK.sub(made, text)


def main(*, is_check: bool) -> None:
    """Write every page of the reference anew, or say which ought to be."""
    stale = []
    for page in sorted(REFERENCE.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := rewritten(text)) != text:
            stale.append(page.name)
            if not is_check:
                page.write_text(new, encoding="utf-8")
    if is_check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; `python tests/docs/tables.py` writes them anew")


if __name__ == "__main__":
    main(is_check="--check" in sys.argv)
