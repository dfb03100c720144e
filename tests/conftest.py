"""One thread for torch: the test pictures are small, and several test processes share the cores."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
