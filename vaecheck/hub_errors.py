"""What huggingface_hub raised -> one clear sentence and a remedy, the same for models and data sets."""

from __future__ import annotations

import os

from vaecheck.errors import InputError, SetupError, VaecheckError

LONGEST = 200


def endpoint() -> str:
    """Where the hub is: HF_ENDPOINT, else its own address."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or str(constants.ENDPOINT)


def status_of(error: Exception) -> int | None:
    """The HTTP status that the hub answered with, where it answered."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def said(error: Exception) -> str:
    """The error's own words on one line, printable."""
    words = " ".join(str(error).split()).encode("ascii", "backslashreplace").decode()
    return words[:LONGEST] or type(error).__name__


def refusal(error: Exception, repo: str, revision: str | None, *, page: str, absent: str) -> VaecheckError | None:
    """Why the hub does not give `repo`; None where the error is of another kind, for the caller to explain.

    page: its address. absent: the sentence for a repository that is not there.
    """
    import huggingface_hub.errors as hub_errors

    if isinstance(error, hub_errors.GatedRepoError):
        return SetupError(
            f"{repo} is gated: its authors ask that its terms be accepted first",
            hint=f"Accept them at {page}, then set HF_TOKEN to a token of that account.",
        )
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return InputError(f"{repo} has no revision {revision!r}", hint=f"See the branches and tags at {page}")
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        return InputError(absent, hint="Check the spelling; for a private repository set HF_TOKEN.")
    if isinstance(error, hub_errors.HFValidationError):
        return InputError(f"{repo} is no name on the hub: {said(error)}", hint="A hub id is owner/name.")
    if (status := status_of(error)) in (401, 403):
        return SetupError(
            f"the hub refuses {repo} ({status})", hint="Check HF_TOKEN: it may be invalid or lack the permission."
        )
    return None
