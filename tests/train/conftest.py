"""The published names of weights, filled with random ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import stand_in_weights


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in_weights.write(tmp_path_factory.mktemp("torch_home"), (stand_in_weights.ALEX, stand_in_weights.VGG))
