"""One thread for torch: the test pictures are small, and several test processes share the cores.

No feature cache, also in the processes that tests start: tests that want one name their own folder.
"""

from __future__ import annotations

import os

import torch

torch.set_num_threads(1)
os.environ["VAECHECK_CACHE_GB"] = "0"
