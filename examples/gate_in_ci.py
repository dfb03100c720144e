"""A gate in a test or a CI job: the rules are kept, or the script ends with another code and says which are not.

    python examples/gate_in_ci.py                                 # the bundled pictures and VAE: 0
    python examples/gate_in_ci.py ./validation checkpoints/last

Prints every rule with its outcome. The exit code is the command line's: 0 the rules are kept, 1 one is broken, 3 a
figure is missing, 2 a mistake. examples/gate has ready jobs for GitHub and GitLab, and rules in TOML.
"""

import sys

import vaecheck

QUICK = vaecheck.Settings(size=64, limit=8, offline=True)
RULES = {
    "psnr_db": {"min": 18, "warn": 19},  # dB, at this small size; at 256 px rather 24
    "ssim": {"min": 0.4},
    "latent_std": {"min": 0.1, "max": 10},
}


def gate(images: str, ref: str) -> int:
    """The exit code."""
    code = 0
    try:
        report = vaecheck.gate(images, RULES, vae=ref, settings=QUICK)
    except (vaecheck.GateFailed, vaecheck.GateIncomplete) as error:
        report, code = error.report, error.exit_code
    for check in report.checks:
        print(f"{check.outcome:5}  {check.rule}: {check.reason}")
    print(f"{report.verdict}: exit code {code}")
    return code


if __name__ == "__main__":
    images = sys.argv[1] if len(sys.argv) > 1 else "samples"
    ref = sys.argv[2] if len(sys.argv) > 2 else "kl-f8-tiny"
    sys.exit(gate(images, ref))
