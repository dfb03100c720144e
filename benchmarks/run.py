"""`make bench`: what vaecheck costs beside the models that it must run, and beside the plain script.

    python -m benchmarks.run [--only CASE] [--images FOLDER] [--count 128] [--size 256] [--repeats 1] [--write]

Every ratio is of two things measured in turn in one run, because machines are shared and noisy; each is the median
over the repeats. Without --images, pictures are cut from the bundled samples. Real weights are used where they
are found, stand-ins of the same shape elsewhere: the values mean nothing then, the time is the same.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

from benchmarks import report
from benchmarks.cases import CASES, stages
from benchmarks.setting import ROOT, prepared


def main() -> None:
    options = _options()
    chosen = {name: CASES[name] for name in options.only or CASES}
    has_gpu = _has_gpu()
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="vaecheck-bench-") as folder:
        setting = prepared(Path(folder), options.images, options.count, options.size)
        for setting.turn in range(options.repeats):
            for name, case in chosen.items():
                if case.gpu and not has_gpu:
                    continue
                ours, theirs = case.measure(setting)
                found.setdefault(name, []).append((ours, theirs))
                print(f"{name}: {ours:.3f} / {theirs:.3f} = {ours / theirs:.3f}", file=sys.stderr, flush=True)
        figures = stages(setting.made)
    text = report.document(
        shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]]),
        chosen,
        found,
        figures,
        count=options.count,
        size=options.size,
        why_not="no CUDA device here",
    )
    print(text)
    if options.write:
        (ROOT / "benchmarks" / "RESULTS.md").write_text(text)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--images", type=Path, help="your own pictures instead of windows of the samples")
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
