"""One thread for torch: the test pictures are small, and several test processes share the cores.

No feature cache, also in the processes that tests start: tests that want one name their own folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests import stand_in_weights

torch.set_num_threads(1)
os.environ["VAECHECK_CACHE_GB"] = "0"


@pytest.fixture(scope="session")
def torch_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TORCH_HOME whose hub/checkpoints holds a stand-in for every weight file."""
    folder = tmp_path_factory.mktemp("torch_home")
    stand_in_weights.write(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoints(torch_home: Path) -> Path:
    """A VAECHECK_WEIGHTS folder of stand-ins."""
    return torch_home / "hub" / "checkpoints"
