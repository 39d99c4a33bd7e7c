"""TARGET: which app a command is about."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from toque.app import App
from toque.cli.failures import Failure

__all__ = ["folder_of", "load_app"]

FILES = ("app.py", "main.py", "__init__.py")
"""Where an app stands in a folder, in the order in which they are tried."""


def load_app(target: str) -> App:
    """The app that *target* names: `package.module:app`, a file (`app.py`, `app.py:app`) or a folder.

    Raises: Failure with code 2 where there is none, or more than one.
    """
    where, _, name = target.partition(":")
    module = _import_path(Path(where)) if _is_path(where) else _import_module(where)
    apps = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    if name:
        if name not in apps:
            near = get_close_matches(name, apps, 1)
            hint = f"; did you mean {where}:{near[0]}?" if near else f"; its apps: {', '.join(apps) or 'none'}"
            raise Failure(f"{where} has no app named {name!r}{hint}", code=2)
        return apps[name]
    if "app" in apps:
        return apps["app"]
    if not apps:
        raise Failure(f'{where} makes no App; it wants `app = App("shop")`, say', code=2)
    if len(set(map(id, apps.values()))) != 1:
        raise Failure(f"{where} has no single app (found: {', '.join(apps)}); name it: {where}:NAME", code=2)
    return next(iter(apps.values()))


def _is_path(where: str) -> bool:
    return "/" in where or where.endswith(".py") or Path(where).exists() or where in ("", ".")


def folder_of(target: str) -> Path:
    """The folder of the app that *target* names, without importing it."""
    where, _, _ = target.partition(":")
    if _is_path(where):
        return _file_of(Path(where)).parent
    _look_in_working_folder()
    try:
        spec = importlib.util.find_spec(where)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise _no_module(where)
    return Path(spec.origin).parent


def _file_of(path: Path) -> Path:
    path = path.resolve()
    if path.is_dir():
        file = next((path / name for name in FILES if (path / name).is_file()), None)
        if file is None:
            raise Failure(f"{path} has none of {', '.join(FILES)}; name the file that makes the App", code=2)
        return file
    if not path.is_file():
        raise Failure(f"there is no {path}{_nearest(path.name, path.parent)}", code=2)
    return path


def _import_path(path: Path) -> ModuleType:
    path = _file_of(path)
    names = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    name = ".".join(names)
    module = importlib.import_module(name)
    if module.__file__ is None or Path(module.__file__).resolve() != path:
        raise Failure(f"{path} cannot be imported: {name!r} is {module.__file__ or 'built in'}; rename the file")
    return module


def _import_module(name: str) -> ModuleType:
    _look_in_working_folder()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise _no_module(name) from None


def _no_module(name: str) -> Failure:
    return Failure(f"there is no module or path {name!r}{_nearest(name.partition('.')[0], Path())}", code=2)


def _nearest(name: str, folder: Path) -> str:
    """A question about what *folder* has of nearly that name."""
    known = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    near = get_close_matches(name, [*known, *(Path(one).stem for one in known if one.endswith(".py"))], 1)
    return f"; did you mean {near[0]}?" if near else ""


def _look_in_working_folder() -> None:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
