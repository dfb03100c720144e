"""Every error that vaecheck raises on purpose.

VaecheckError                  exit 70 unless a subclass says otherwise
├── InputError                 2   bad input or usage: a path, an option, a picture, a config
│   └── NotComparable          2   results of different pictures, sizes, dtypes or weights
├── GateFailed                 1   the gate says no; `report` has every check
├── SetupError                 3   something needed is missing: a device, a package, the network
│   ├── WeightsError           3   a weight file that is absent, broken or not the published one
│   └── GateIncomplete         3   figures that the gate's rules need are missing; `report` has every check
├── NotEnoughImages            3   a figure that these few pictures cannot give
└── PartDone                   0   one of several processes has given its part to the first, which has the result
"""

from __future__ import annotations

from typing import Any


class VaecheckError(Exception):
    """What went wrong, with the numbers; `hint` is what to do about it."""

    exit_code = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(VaecheckError):
    exit_code = 2


class NotComparable(InputError):
    pass


class SetupError(VaecheckError):
    exit_code = 3


class WeightsError(SetupError):
    pass


class GateFailed(VaecheckError):
    """report: the GateReport."""

    exit_code = 1

    def __init__(self, message: str, *, report: Any = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.report = report


class GateIncomplete(SetupError):
    """report: the GateReport."""

    def __init__(self, message: str, *, report: Any = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.report = report


class NotEnoughImages(VaecheckError):
    exit_code = 3


class PartDone(VaecheckError):
    exit_code = 0
