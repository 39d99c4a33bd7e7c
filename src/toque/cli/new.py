"""`toque new`: a small app that runs and passes its own tests."""

from __future__ import annotations

import keyword
from importlib import resources
from pathlib import Path

from toque.cli.failures import Failure

__all__ = ["new"]

FILES = {
    "app.py.txt": "app.py",
    "models.py.txt": "models.py",
    "tests/test_access.py.txt": "tests/test_access.py",
    "tests/test_app.py.txt": "tests/test_app.py",
    "toque.toml.txt": "toque.toml",
    "pyproject.toml.txt": "pyproject.toml",
    "gitignore.txt": ".gitignore",
    "README.md.txt": "README.md",
}
"""From our own folder `scaffold` to the new app's."""

NEXT = """\
  cd {folder}
  toque dev        # then open http://127.0.0.1:8000/docs
  pytest"""


def new(name: str, /, *, folder: Path | None = None) -> None:
    """Make a small app called NAME, with tests that pass.

    - `toque new shop` makes the folder `shop`; `cd shop`, then `toque dev` serves it.

    Args:
        name: Letters, digits and `_`, beginning with a letter.
        folder: Where to put it; `./NAME` unless given.
    """
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise Failure(f"an app's name is a Python name such as `{_suggestion(name)}`, got {name!r}", code=2)
    folder = folder or Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Failure(f"{folder} exists and is not empty; choose another --folder")
    scaffold = resources.files("toque.cli") / "scaffold"
    for source, target in FILES.items():
        file = folder / target
        file.parent.mkdir(parents=True, exist_ok=True)
        text = (scaffold / source).read_text(encoding="utf-8")
        file.write_text(text.format(name=name, title=name.replace("_", " ").capitalize()), encoding="utf-8")
    print(f"made {folder}/\n\n{NEXT.format(folder=folder)}")


def _suggestion(name: str) -> str:
    letters = "".join(character if character.isalnum() and character.isascii() else "_" for character in name)
    if keyword.iskeyword(letters):
        return f"my_{letters}"
    return ("app_" + letters if not letters[:1].isalpha() else letters).strip("_").lower() or "my_app"
