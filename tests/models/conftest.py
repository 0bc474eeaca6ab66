from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bundles import tiny_bundle


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained bundle, exported once; not to be changed."""
    return tiny_bundle(tmp_path_factory.mktemp("tiny"))
