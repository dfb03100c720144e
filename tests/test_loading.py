"""What a network that comes from a file is built without."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.stand_in_weights import BACKBONES, INCEPTION
from vaecheck.loading import loading
from vaecheck.metrics.perceptual import _inception_trunk, lpips_network


def drawn() -> int:
    """How far building a convolution moves the generator."""
    before = torch.get_rng_state()
    nn.Conv2d(3, 8, 3)
    return int((torch.get_rng_state() != before).sum())


def test_nothing_is_drawn_inside_and_again_after() -> None:
    with loading():
        assert not drawn()
    assert drawn()


def test_a_weight_that_no_file_replaces_is_nan() -> None:
    with loading():
        layers = [nn.Conv2d(3, 8, 3), nn.Linear(3, 8), nn.Embedding(3, 8)]
    assert all(weights.isnan().all() for layer in layers for weights in layer.parameters())


def test_what_draws_until_all_values_suit_it_still_draws() -> None:
    with loading():
        assert nn.init.trunc_normal_(torch.full((1000,), 9.0)).abs().max() <= 2


def test_no_network_of_the_metrics_keeps_a_weight_that_no_file_gave(checkpoints: Path) -> None:
    networks = [_inception_trunk(checkpoints / INCEPTION)]
    networks += [lpips_network(net, checkpoints / name) for net, name in BACKBONES.items()]
    for network in networks:
        assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


def test_what_a_network_computes_is_untouched() -> None:
    with loading():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).tolist() == [[2.0, 2.0], [2.0, 2.0]]
        assert torch.rand(1000, generator=torch.Generator().manual_seed(0)).std() > 0.2


COMPILER_ON_DEMAND = """
import sys
from vaecheck.loading import COMPILER, loading

with loading():
    import lpips, torch_fidelity, torchvision
print(any(name.startswith("torch._dynamo") for name in sys.modules))

import torch
from torchvision.ops.roi_align import is_compile_supported

print(is_compile_supported("cpu"), is_compile_supported("xla"))
import torch._dynamo.utils as real
print(sys.modules[COMPILER] is real, is_compile_supported is real.is_compile_supported)
print(real.is_compile_supported("cpu"), real.is_compile_supported("xla"))
print(torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(2)).tolist())
with loading():
    print(sys.modules[COMPILER] is real)
"""
ASKED_INSIDE = {
    "called": "from torch._dynamo.utils import is_compile_supported; is_compile_supported('cpu')",
    "compiled": "torch.compile(lambda x: 2 * x, backend='eager')(torch.ones(2))",
    "imported": "import torch._dynamo; torch._dynamo.reset()",
    "a class": "from torch._dynamo.utils import ExactWeakKeyDictionary as one; assert isinstance(one, type)",
    "by a name": "import torch._dynamo.utils as utils; utils.counters.clear()",
    "in a thread": "from concurrent.futures import ThreadPoolExecutor as Pool; Pool(1).submit("
    "lambda: torch.compile(lambda x: 2 * x, backend='eager')(torch.ones(2))).result()",
}


def test_the_compiler_is_not_imported_until_it_is_asked() -> None:
    process = subprocess.run([sys.executable, "-c", COMPILER_ON_DEMAND], capture_output=True, text=True, check=True)
    loaded, on_demand, modules, real, compiled, again = process.stdout.splitlines()
    assert loaded == "False"
    assert on_demand == real
    assert (modules, compiled, again) == ("True False", "[2.0, 2.0]", "True")


@pytest.mark.slow
@pytest.mark.parametrize("asked", list(ASKED_INSIDE))
def test_who_asks_for_the_compiler_inside_has_the_real_one(asked: str) -> None:
    code = f"""
import sys, torch
from vaecheck.loading import COMPILER, loading

with loading():
    {ASKED_INSIDE[asked]}
    assert sys.modules[COMPILER].__spec__ is not None
assert sys.modules[COMPILER].__spec__ is not None
assert torch.compile(lambda x: 3 * x, backend="eager")(torch.ones(2)).tolist() == [3, 3]
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def test_no_network_of_the_metrics_asks_for_the_compiler(checkpoints: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from vaecheck.metrics.perceptual import _inception_trunk, lpips_network

_inception_trunk(Path({str(checkpoints / INCEPTION)!r}))
lpips_network("alex", Path({str(checkpoints / BACKBONES["alex"])!r}))
print(any(name.startswith("torch._dynamo") for name in sys.modules))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with loading():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
        with pytest.raises(RuntimeError), loading():
            raise RuntimeError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
