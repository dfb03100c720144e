"""By what are latents to be multiplied, so that the diffusion model sees a standard deviation of 1?

    python examples/find_scale_factor.py                          # the bundled pictures and VAE
    python examples/find_scale_factor.py ./train my-vae/

Prints the factor on these pictures with its 95 % interval, what the VAE ships and whether that is right, the mean and
standard deviation of every channel, and the lines to paste into a diffusers training script.
"""

import sys

import vaecheck

QUICK = vaecheck.Settings(size=64, limit=8, offline=True)


def find(images: str, ref: str) -> float:
    """The factor: 1 over the standard deviation of posterior samples over all pictures."""
    scaling = vaecheck.scale_factor(images, ref, QUICK).scaling
    assert scaling is not None
    low, high = scaling.scaling_factor_ci95 or (None, None)
    print(f"scaling factor {scaling.scaling_factor:.4f} (95 % interval {low:.4f} to {high:.4f})")
    shipped = scaling.shipped["scaling_factor"]
    print(f"{ref} ships {shipped}, after which the std is {scaling.shipped['std_after']}: {scaling.verdict}")
    for number, channel in enumerate(scaling.per_channel):
        print(f"  channel {number}: mean {channel['mean']:+.3f}, std {channel['std']:.3f}")
    print(next(code for name, code in scaling.snippets.items() if "diffusers" in name.lower()))
    return scaling.scaling_factor


if __name__ == "__main__":
    images = sys.argv[1] if len(sys.argv) > 1 else "samples"
    ref = sys.argv[2] if len(sys.argv) > 2 else "kl-f8-tiny"
    find(images, ref)
