"""python -m vaecheck, so that torchrun -m vaecheck works."""

from vaecheck.cli.app import main

if __name__ == "__main__":
    main()
