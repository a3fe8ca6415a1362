"""Builds the daemon as one file: make_pyz.py FILE

The file is a zip archive that Python runs (python3 simscoped.pyz serve), with the front, the package, the schema and
the page in it. The few dependencies in pyproject.toml must be installed where it runs. The same sources give the same
bytes.
"""

from __future__ import annotations

import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAIN = """import sys

try:
    from simscoped import main
except ModuleNotFoundError as error:
    print(f"simscoped: {error.name} is not installed; it needs NEEDS", file=sys.stderr)
    sys.exit(2)
sys.exit(main())
"""
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip archive can tell


def parts() -> Iterator[Path]:
    """The files that belong to the daemon."""
    yield from (ROOT / name for name in ("simscoped.py", "schema.sql", "simscope.config.example"))
    yield from sorted((ROOT / "simscope_server").rglob("*.py"))
    yield from sorted(path for path in (ROOT / "static").iterdir() if path.is_file())


def needs() -> list[str]:
    """What must be installed where it runs, as pip takes it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [str(requirement) for requirement in project["dependencies"]]


def build(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo("__main__.py", EPOCH), MAIN.replace("NEEDS", " ".join(needs())))
            for path in parts():
                entry = zipfile.ZipInfo(str(path.relative_to(ROOT)), EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
    target.chmod(0o755)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("make_pyz.py takes one argument: the file to build")
    build(Path(sys.argv[1]))
