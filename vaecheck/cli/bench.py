"""vaecheck bench"""

from __future__ import annotations

from typing import Annotated

import typer

from vaecheck.cli import options as o
from vaecheck.cli import screen


def command(
    vae: o.Vae,
    size: o.Size = 256,
    dtype: o.DtypeOption = o.Dtype.auto,
    batch_size: o.BatchSize = "auto",
    batches: Annotated[int, typer.Option(min=1, help="Batches timed, after one for warm-up.")] = 10,
    tiling: o.Tiling = None,
    slicing: o.Slicing = False,
    channels_last: o.ChannelsLast = None,
    compile: o.Compile = False,
    device: o.Device = "auto",
    seed: o.Seed = 0,
    offline: o.Offline = False,
    out: o.Out = None,
    json: o.Json = False,
) -> None:
    """Encode and decode speed, memory and FLOPs.

    Example: vaecheck bench --vae kl-f8-tiny --size 512
    """
    from vaecheck.tasks.bench import bench

    with screen.listening(out) as listener:
        result = bench(vae, o.settings(locals()), batches=batches, listener=listener)
    screen.finish(result, out=out, as_json=json)
