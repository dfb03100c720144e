"""Is this VAE fit to train a latent diffusion model on, on these pictures? And if not, what is to be done?

    python examples/check_before_training.py                      # the bundled pictures and VAE
    python examples/check_before_training.py ./train sd-vae-ft-mse

Prints what the reconstruction has, each fault and warning with its evidence and its remedy, and last what to do. It
ends with 1 where the VAE has a fault.
"""

import sys

import vaecheck

QUICK = vaecheck.Settings(size=64, limit=8, yardstick="none", offline=True)  # really: size=256, hundreds of pictures
PROBES = ("constant_output", "colour_shift", "blur", "posterior_collapse", "latent_scale")


def check(images: str, ref: str) -> tuple[vaecheck.Finding, ...]:
    """The faults and warnings, the gravest first."""
    result, _ = vaecheck.reconstruct(images, ref, QUICK)
    print(f"{ref} on {result.data.count} pictures of {images}")
    for name in ("psnr_db", "ssim", "lpips_alex", "rfid"):
        measure = result.measures[name]
        print(f"  {name}: {measure.reason if measure.value is None else round(measure.value, 3)}")
    diagnosis, _ = vaecheck.diagnose(images, ref, QUICK, probes=PROBES)  # without `probes`: all of them
    found = tuple(one for one in diagnosis.findings if one.severity in ("fault", "warning"))
    for one in found:
        print(f"{one.severity} {one.id}: {one.evidence}\n  {one.remedy}")
    return found


if __name__ == "__main__":
    images = sys.argv[1] if len(sys.argv) > 1 else "samples"
    ref = sys.argv[2] if len(sys.argv) > 2 else "kl-f8-tiny"
    faults = [one.id for one in check(images, ref) if one.severity == "fault"]
    print(f"Do not train on it: {', '.join(faults)}." if faults else "No fault: train, with the factor it ships.")
    sys.exit(bool(faults))
