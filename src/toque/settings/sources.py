"""Reading settings: toque.toml, then the environment, then the command line; all mistakes at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from toque.contract.complaints import Complaint
from toque.settings.secret import Secret
from toque.settings.tree import SECTIONS, Settings, type_of

__all__ = ["SettingsError", "load"]

FILE_NAME = "toque.toml"
PREFIX = "TOQUE_"


class SettingsError(ValueError):
    """The settings are wrong; `complaints` are all the reasons."""

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        self.complaints = tuple(complaints)
        count = len(self.complaints)
        heading = "The settings are wrong: " + ("1 problem." if count == 1 else f"{count} problems.")
        super().__init__("\n".join([heading, *(f"  {complaint}" for complaint in self.complaints)]))


class _Origin(NamedTuple):
    """Where values are written, and how a setting is called there."""

    spelling: str
    is_text: bool

    def spell(self, section: str, name: str) -> str:
        spelled = self.spelling.format(section=section, name=name)
        return spelled.upper() if spelled.startswith(PREFIX) else spelled


_FILE = _Origin(f"{{section}}.{{name}} in {FILE_NAME}", is_text=False)
_ENVIRONMENT = _Origin(PREFIX + "{section}_{name}", is_text=True)
_FLAGS = _Origin("flag {section}.{name}", is_text=True)


class _Entry(NamedTuple):
    """One value as somebody wrote it."""

    origin: _Origin
    place: str
    section: str
    name: str
    value: Any


def load(folder: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> Settings:
    """The settings of the app in *folder*: each from the last of file, environment and flags that names it.

    Args:
        folder: where toque.toml may stand and relative paths start; None reads no file.
        environ: `TOQUE_<SECTION>_<NAME>` by name; names without the prefix are left alone.
        flags: `section.name` -> text.
    Raises: SettingsError with every unknown name and every value that does not fit.
    """
    complaints: list[Complaint] = []
    chosen: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    sources: dict[str, str] = {}
    for entry in (*_from_file(folder, complaints), *_from_environment(environ), *_from_flags(flags)):
        if unknown := _unknown(entry):
            complaints.append(unknown)
            continue
        try:
            chosen[entry.section][entry.name] = _converted(entry, folder)
            sources[f"{entry.section}.{entry.name}"] = entry.place
        except msgspec.ValidationError:
            complaints.append(_misfit(entry))
    if complaints:
        raise SettingsError(complaints)
    sections: dict[str, Any] = {section: SECTIONS[section](**values) for section, values in chosen.items()}
    return Settings(**sections, folder=folder, sources=sources)


def _from_file(folder: Path | None, complaints: list[Complaint]) -> Iterator[_Entry]:
    path = None if folder is None else folder / FILE_NAME
    if path is None or not path.is_file():
        return
    import tomllib  # Most apps have no file.

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        complaints.append(Complaint(FILE_NAME, f"cannot be read: {error}", "write it as TOML 1.0 in UTF-8"))
        return
    for section, table in document.items():
        settings = table if isinstance(table, dict) else {"": table}
        for name, value in settings.items():
            place = f"{section}.{name}".rstrip(".") + f" in {FILE_NAME}"
            yield _Entry(_FILE, place, section, name, value)


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Entry]:
    for variable, value in environ.items():
        if variable.startswith(PREFIX):
            section, name = _parted(variable.removeprefix(PREFIX).lower())
            yield _Entry(_ENVIRONMENT, variable, section, name, value)


def _parted(text: str) -> tuple[str, str]:
    """Section and name: `http_client_allow` is in `http_client`, though there is an `http` too."""
    for section in sorted(SECTIONS, key=len, reverse=True):
        if text.startswith(f"{section}_"):
            return section, text.removeprefix(f"{section}_")
    section, _, name = text.partition("_")
    return section, name


def _from_flags(flags: Mapping[str, str]) -> Iterator[_Entry]:
    for flag, value in flags.items():
        section, _, name = flag.partition(".")
        yield _Entry(_FLAGS, f"flag {flag}", section, name, value)


def _unknown(entry: _Entry) -> Complaint | None:
    section = SECTIONS.get(entry.section)
    if section is not None and entry.name in section.__struct_fields__:
        return None
    if section is not None and not entry.name:
        remedy = f"write {entry.origin.spell(entry.section, next(iter(section.__struct_fields__)))}, say"
        return Complaint(entry.place, f"{entry.section!r} is a section, and no setting", remedy)
    problem = f"there is no section {entry.section!r}"
    if section is not None:
        problem = f"there is no setting {entry.name!r} in section {entry.section!r}"
    return Complaint(entry.place, problem, _did_you_mean(entry))


def _did_you_mean(entry: _Entry) -> str:
    from difflib import get_close_matches

    known = {f"{section}.{name}": (section, name) for section, tp in SECTIONS.items() for name in tp.__struct_fields__}
    near = get_close_matches(f"{entry.section}.{entry.name}".strip("."), known, 1)
    if near:
        return f"did you mean {entry.origin.spell(*known[near[0]])}?"
    if entry.section in SECTIONS:
        return f"known there: {', '.join(SECTIONS[entry.section].__struct_fields__)}"
    return f"known sections: {', '.join(SECTIONS)}"


def _converted(entry: _Entry, folder: Path | None) -> Any:
    """The value as its setting's type. What comes as text may mean a number, a list or nothing.

    Raises: msgspec.ValidationError.
    """
    tp = type_of(entry.section, entry.name)
    value = entry.value
    if entry.origin.is_text and tp.is_list:
        value = [item.strip() for item in value.split(",") if item.strip()]
    if entry.origin.is_text and tp.is_optional and value == "":
        return None

    def decode(wanted: type, value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError(f"expected text, got {type(value).__name__}")  # msgspec makes it a ValidationError.
        return Secret(value) if wanted is Secret else (folder or Path()) / Path(value).expanduser()

    return msgspec.convert(value, tp.annotation, strict=not entry.origin.is_text, dec_hook=decode)


def _misfit(entry: _Entry) -> Complaint:
    from toque.settings.words import expected

    tp = type_of(entry.section, entry.name)
    received = type(entry.value).__name__ if tp.is_secret else repr(entry.value)[:100]
    return Complaint(entry.place, f"expected {expected(tp.annotation)}, received {received}")
