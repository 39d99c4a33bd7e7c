"""A broker's address: where it is, and what the app uses there."""

from __future__ import annotations

from difflib import get_close_matches
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

__all__ = ["Address", "login"]


class Address(Struct, frozen=True):
    """The parts of a broker's URL."""

    url: str
    """For the driver: without the options."""

    name: str
    """For people: without the password and the options."""

    options: dict[str, str]

    @classmethod
    def read(cls, url: str, **defaults: str) -> Address:
        """The parts of *url*; *defaults* are the options that it may have after its `?`.

        Raises: ValueError where it has another one, or no host.
        """
        parts = urlsplit(url)
        if not parts.netloc.rpartition("@")[2]:
            raise ValueError(f"expected {parts.scheme}://host, got an address without a host.")
        given: dict[str, str] = dict(parse_qsl(parts.query, keep_blank_values=True))
        for option in given:
            if option not in defaults:
                near = get_close_matches(option, defaults, 1) or list(defaults)
                raise ValueError(f"{parts.scheme}:// has no option {option!r}; did you mean {' or '.join(near)}?")
        place = parts.netloc.rpartition("@")[2]
        return cls(
            url=parts._replace(query="", fragment="").geturl(),
            name=f"{parts.scheme}://{place}",
            options={**defaults, **given},
        )


def login(url: str) -> tuple[str, str]:
    """The name and the password in *url*, decoded; empty where there are none."""
    user, _, password = urlsplit(url).netloc.rpartition("@")[0].partition(":")
    return unquote(user), unquote(password)
