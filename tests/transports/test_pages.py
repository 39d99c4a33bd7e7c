"""Pages: what a template sees, what it may not do, and how a wrong one is told."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import attrs
import pydantic
import pytest
from jinja2 import UndefinedError
from msgspec import Struct, field

from toque.cache.kept import Canonical
from toque.contract.access import public
from toque.contract.module import Module
from toque.contract.signature import read_signature
from toque.transports.kept_forms import form_of
from toque.transports.pages import Pages


class Dish(Struct):
    name: str
    price_cents: int = field(default=0, name="priceCents")


@dataclass
class DishData:
    name: str


@attrs.define
class DishAttrs:
    name: str


class DishDict(TypedDict):
    name: str


class DishModel(pydantic.BaseModel):
    name: str


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    folder.mkdir()
    return folder


def render(folder: Path, template: str, value: Any, tp: Any) -> str:
    (folder / "page.html").write_text(template)
    return offer(Pages([folder], is_development=False), tp).encode(value).decode()


def offer(pages: Pages, tp: Any) -> Any:
    module = Module("kitchen")

    async def show() -> None: ...

    show.__annotations__["return"] = tp
    module.query("/show", allow=public, page="page.html")(show)
    operation = module.operations[0]
    return pages.offer(operation, read_signature(operation, frozenset()))


@pytest.mark.parametrize(
    "value",
    [Dish("Soup"), DishData("Soup"), DishAttrs("Soup"), DishModel(name="Soup")],
    ids=lambda one: type(one).__name__,
)
def test_a_template_sees_the_fields_of_every_kind_of_answer(templates: Path, value: Any) -> None:
    assert render(templates, "{{ name }}, {{ it.name }}", value, type(value)) == "Soup, Soup"


def test_a_template_sees_the_keys_of_a_dict(templates: Path) -> None:
    assert render(templates, "{{ name }}", {"name": "Soup"}, DishDict) == "Soup"


def test_a_template_uses_python_names_not_those_on_the_wire(templates: Path) -> None:
    assert render(templates, "{{ price_cents }}", Dish("Soup", 750), Dish) == "750"


def test_a_list_is_it(templates: Path) -> None:
    text = "{% for dish in it %}{{ dish.name }};{% endfor %}"

    assert render(templates, text, [Dish("Soup"), Dish("Steak")], list[Dish]) == "Soup;Steak;"


def test_nothing_to_answer_is_a_page_all_the_same(templates: Path) -> None:
    assert render(templates, "Welcome", None, None) == "Welcome"


def test_whatever_data_says_is_text_and_never_markup(templates: Path) -> None:
    said = render(templates, '<p title="{{ name }}">{{ name }}</p>', Dish("<script>\"'"), Dish)

    assert "<script>" not in said
    assert said.count("&lt;script&gt;&#34;&#39;") == 2


def test_a_name_that_is_not_there_fails_instead_of_showing_nothing(templates: Path) -> None:
    with pytest.raises(UndefinedError, match="nmae"):
        render(templates, "{{ nmae }}", Dish("Soup"), Dish)


def test_a_page_runs_only_scripts_of_our_own(templates: Path) -> None:
    (templates / "page.html").write_text("")
    offered = offer(Pages([templates], is_development=False), None)
    headers = dict(offered.headers)

    assert offered.media_type == headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_a_page_carries_what_its_operation_says_about_caching_and_its_own_policy_once(
    templates: Path,
) -> None:
    (templates / "page.html").write_text("")
    module = Module("kitchen")

    @module.query("/show", allow=public, page="page.html")
    async def show() -> None: ...

    operation = module.operations[0]
    headers = [("cache-control", "no-store"), ("content-security-policy", "default-src 'none'")]
    offered = Pages([templates], is_development=False).offer(operation, read_signature(operation, frozenset()), headers)

    assert ("cache-control", "no-store") in offered.headers
    assert [name for name, _ in offered.headers].count("content-security-policy") == 1
    assert ("content-security-policy", "default-src 'none'") not in offered.headers


def test_a_missing_template_is_told_with_the_nearest_name(templates: Path) -> None:
    (templates / "menu.html").write_text("{% extends 'layot.html' %}")
    (templates / "layout.html").write_text("")
    pages = Pages([templates], is_development=False)

    assert pages.problem("layout.html") is None
    assert pages.problem("meun.html") == "there is no template 'meun.html'; did you mean 'menu.html'?"
    assert pages.problem("xyz") == "there is no template 'xyz'"


def test_a_template_that_cannot_be_read_is_told_with_its_line(templates: Path) -> None:
    (templates / "broken.html").write_text("\n{% if %}")

    said = Pages([templates], is_development=False).problem("broken.html") or ""

    assert "'broken.html' cannot be read, line 2" in said


def test_no_template_is_read_from_outside_the_folders(templates: Path) -> None:
    (templates.parent / "secret.html").write_text("SECRET")

    assert "no template" in (Pages([templates], is_development=False).problem("../secret.html") or "")


def test_the_first_folder_that_has_a_template_wins(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page.html").write_text(name)

    pages = Pages([tmp_path / "none", tmp_path / "one", tmp_path / "two"], is_development=False)

    assert offer(pages, None).encode(None) == b"one"


@pytest.mark.parametrize(("is_development", "shown"), [(True, b"after!"), (False, b"before")])
def test_a_changed_template_is_read_again_only_in_development(
    templates: Path, is_development: bool, shown: bytes
) -> None:
    (templates / "page.html").write_text("before")
    offered = offer(Pages([templates], is_development=is_development), None)
    assert offered.encode(None) == b"before"

    (templates / "page.html").write_text("after!")
    os.utime(templates / "page.html", (1, 1))

    assert offered.encode(None) == shown


@pytest.mark.parametrize(
    ("text", "is_lasting"),
    [
        ("{{ it }}", True),
        ("{% include 'other.html' %}", True),
        ("{% include ['none.html', 'other.html'] %}", True),
        ("{{ [1, 2] | random }}", False),
        ("{{ lipsum() }}", False),
        ("{% include 'dice.html' %}", False),
        ("{% include it %}", False),
    ],
)
def test_what_a_template_chooses_by_chance_does_not_last(templates: Path, text: str, is_lasting: bool) -> None:
    (templates / "page.html").write_text(text)
    (templates / "other.html").write_text("other")
    (templates / "dice.html").write_text("{{ [1, 2] | random }}")

    assert offer(Pages([templates], is_development=False), None).is_lasting is is_lasting


def test_a_kept_answer_is_shown_by_the_template_of_now(templates: Path) -> None:
    (templates / "page.html").write_text("before {{ it }}")
    offered = offer(Pages([templates], is_development=True), str)
    kept = Canonical(str).kept("x")
    before = form_of(kept, offered, {}, 1000)

    (templates / "page.html").write_text("after! {{ it }}")
    os.utime(templates / "page.html", (1, 1))
    after = form_of(kept, offered, {}, 1000)

    assert (before.body, after.body) == (b"before x", b"after! x")
    assert before.etag != after.etag
