"""TARGET: which app a command is about, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell import SHOP, Toque, write

GOOD = "shop 1.2.3: 6 operations, nothing wrong"


@pytest.mark.parametrize(
    "target", ["shop", "shop/", "shop/app.py", "./shop", "shop/app.py:app", "shop.app", "shop.app:app"]
)
def test_an_app_is_a_folder_a_file_or_a_module(toque: Toque, shop: Path, target: str) -> None:
    said = toque("check", target)

    assert (said.code, said.err) == (0, "")
    assert said.out.strip() == GOOD


def test_an_absolute_path_will_do(toque: Toque, shop: Path) -> None:
    assert toque("check", str(shop)).code == 0


def test_the_working_folder_is_the_target_unless_one_is_given(
    toque: Toque, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)

    assert toque("check").code == 0
    assert toque("check", ".").code == 0


@pytest.mark.parametrize("target", ["pots", "pots/app.py", "pots.app:app"])
def test_a_package_may_import_from_itself(toque: Toque, tmp_path: Path, target: str) -> None:
    write(
        tmp_path / "pots",
        {
            "__init__.py": "",
            "app.py": """
            from .colours import colours
            from toque import App

            app = App("pots", modules=[colours])
            """,
            "colours.py": "from toque import Module\ncolours = Module('colours')\n",
        },
    )

    assert toque("check", target).code == 0


def test_a_package_may_be_the_app_itself(toque: Toque, tmp_path: Path) -> None:
    write(tmp_path / "pots", {"__init__.py": "from toque import App\n\napp = App('pots')\n"})

    assert toque("check", "pots").code == 0


def test_the_only_app_of_a_file_may_have_any_name(toque: Toque, tmp_path: Path) -> None:
    write(tmp_path / "pots", {"main.py": "from toque import App\n\npottery = App('pots')\n"})

    assert toque("check", "pots").code == 0


# Where there is none.


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shpo", "there is no module or path 'shpo'; did you mean shop?"),
        ("shpo.app:app", "there is no module or path 'shpo.app'; did you mean shop?"),
        ("shop/ap.py", "; did you mean app.py?"),
        ("shop:ap", "shop has no app named 'ap'; did you mean shop:app?"),
        ("shop/app.py:kitchen", "shop/app.py has no app named 'kitchen'; its apps: app"),
        ("empty", "has none of app.py, main.py, __init__.py; name the file that makes the App"),
        ("two.py", "two.py has no single app (found: first, second); name it: two.py:NAME"),
        ("none.py", 'none.py makes no App; it wants `app = App("shop")`, say'),
    ],
)
def test_a_target_that_is_none_is_used_wrongly_and_hears_the_nearest(
    toque: Toque, shop: Path, target: str, message: str
) -> None:
    (shop.parent / "empty").mkdir()
    two = "from toque import App\nfirst, second = App('first'), App('second')\n"
    write(shop.parent, {"two.py": two, "none.py": "x = 1\n"})

    said = toque("check", target)

    assert said.code == 2
    assert message in said.err


def test_a_file_whose_name_is_taken_says_by_whom(toque: Toque, tmp_path: Path) -> None:
    write(tmp_path, {"calendar.py": SHOP})

    said = toque("check", "calendar.py")

    assert said.code == 1
    assert "'calendar' is " in said.err
    assert "rename the file" in said.err


# What the app's own code raises while it is loaded.


@pytest.mark.parametrize(
    ("code", "last"),
    [
        ("def make():\n    return 1 / 0\n\nmake()\n", "ZeroDivisionError: division by zero"),
        ("import not_installed_anywhere\n", "ModuleNotFoundError: No module named 'not_installed_anywhere'"),
        ("def broken(:\n", "SyntaxError"),
        ("from toque import Ap\n", "ImportError: cannot import name 'Ap' from 'toque'"),
    ],
)
def test_an_exception_of_the_app_s_own_is_shown_from_its_own_first_line(
    toque: Toque, tmp_path: Path, code: str, last: str
) -> None:
    write(tmp_path, {"own.py": code})

    said = toque("check", "own.py")

    assert said.code == 1
    assert last in said.err
    assert "own.py" in said.err
    for machinery in ("importlib", "cyclopts", "toque/cli"):
        assert machinery not in said.err


def test_an_exception_in_a_module_that_the_app_imports_shows_the_way_there(toque: Toque, tmp_path: Path) -> None:
    write(tmp_path / "pots", {"app.py": "import pots_colours\n", "pots_colours.py": "1 / 0\n"})

    said = toque("check", "pots")

    assert said.err.index("pots/app.py") < said.err.index("pots_colours.py")
