"""The points of a batch's life at which a crash is tried out."""

from __future__ import annotations


def passing(point: str) -> None:
    """Called at the named points of a batch's life: before-commit, after-commit, half-cleared.

    Does nothing. A crash test puts its own function here and kills the process at the point it wants."""
