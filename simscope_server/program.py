"""The program itself: its version, and the files that belong to it, wherever it was installed."""

from __future__ import annotations

import sysconfig
import zipfile
from pathlib import Path

__version__ = "0.2.0"


def beside(name: str) -> Path | zipfile.Path:
    """A file, or a folder, that belongs to the program: beside simscoped.py in a checkout, in the same archive in
    simscoped.pyz, in the installed data otherwise."""
    home = Path(__file__).resolve().parents[1]
    if home.is_file():
        found = zipfile.Path(home, name)
        return found if found.exists() else zipfile.Path(home, f"{name}/")
    here = home / name
    return here if here.exists() else Path(sysconfig.get_path("data")) / "share" / "simscoped" / name
