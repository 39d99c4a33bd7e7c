"""What every page keeps to: its links lead somewhere, and it is the same on every machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, anchors_of, links_of

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

MACHINE_PATHS = re.compile(r"(?<![\w.~}/])/(?:home|root|Users|work|tmp|opt|srv|mnt|media)/|[A-Z]:\\\\")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_its_links_lead_to_a_page_and_to_a_heading(page: Path) -> None:
    dead = [link for link in links_of(page) if not link.startswith(("https://", "mailto:")) and not _exists(page, link)]

    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_it_mentions_no_path_of_a_machine(page: Path) -> None:
    found = MACHINE_PATHS.findall(page.read_text(encoding="utf-8"))

    assert found == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or not page.is_file():
            continue
        reached.add(page)
        links = [link.partition("#")[0] for link in links_of(page) if "://" not in link]
        waiting += [(page.parent / link).resolve() for link in links if link.endswith(".md")]

    assert set(PAGES) - reached == set()


def _exists(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return False
    return not anchor or anchor in anchors_of(target)
