"""Which of several VAEs is better on these pictures, in what, and is that more than chance?

    python examples/choose_between_vaes.py                                    # two that need no download
    python examples/choose_between_vaes.py ./train sd-vae-ft-mse sdxl-vae

Prints for every metric each VAE's figure and the winner, or "no difference" where the paired differences on the same
pictures could be chance; then who is beaten by nobody when quality is set against cost.
"""

import sys
from pathlib import Path

import vaecheck

QUICK = vaecheck.Settings(size=64, metrics=("psnr_db", "ssim", "fd_efficientnet_lite0"), offline=True)
OWN = str(Path(__file__).with_name("own_vae.py")) + ":dct_vae"


def choose(images: str, refs: list[str]) -> vaecheck.Comparison:
    """The comparison, whose `measures` have the winners."""
    comparison, _ = vaecheck.compare(refs, images, QUICK)
    for name, contest in comparison.measures.items():
        figures = ", ".join(f"{Path(ref).name} {measure.value:.4g}" for ref, measure in contest.values.items())
        print(f"{name}: {figures}. Winner: {Path(contest.winner).name}")
    for front in comparison.fronts:
        costs = [axis for axis in front.axes if axis != front.quality]
        unbeaten = ", ".join(Path(ref).name for ref in front.front)
        print(f"unbeaten in {front.quality} against {', '.join(costs)}: {unbeaten}")
    return comparison


if __name__ == "__main__":
    images = sys.argv[1] if len(sys.argv) > 1 else "samples"
    choose(images, sys.argv[2:] or ["kl-f8-tiny", OWN])
