"""The rooms of the daemon, for tests that put something else in the place of a thing of its."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

import pytest

import simscope_server
import simscoped


def all_rooms() -> list[ModuleType]:
    """Every module of the daemon, the front first."""
    names = pkgutil.walk_packages(simscope_server.__path__, "simscope_server.")
    return [simscoped, *(importlib.import_module(found.name) for found in names)]


def replace(name: str, value: Any, patch: pytest.MonkeyPatch | None = None) -> None:
    """Give a name another meaning in every room that knows it; for a test, or, without `patch`, for ever."""
    knowing = [room for room in all_rooms() if name in vars(room)]
    assert knowing, name
    for room in knowing:
        if patch is None:
            setattr(room, name, value)
        else:
            patch.setattr(room, name, value)


def find(name: str) -> Any:
    """What a name means in the first room that knows it."""
    return next(vars(room)[name] for room in all_rooms() if name in vars(room))
