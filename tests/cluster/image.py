"""Images as folders: a copy of the service, and the program that the Dockerfile's entry point is.

A node has no container runtime here. What a container sees of its image is what the service needs
of it: the code of this version and no other, and an environment of its own.
"""

from __future__ import annotations

import compileall
import hashlib
import shutil
import sys
from typing import TYPE_CHECKING, NamedTuple

from consumer import __version__
from tests.support.child_process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "checkpoint-ready"
PACKAGES = ("consumer", "schemas")
ENTRY = """import sys
sys.path.insert(0, {folder!r})
from consumer.__main__ import main
sys.exit(main())
"""


class Image(NamedTuple):
    """What a reference to an image stands for on a node."""

    reference: str
    folder: Path
    id: str

    @property
    def environment(self) -> dict[str, str]:
        """What the Dockerfile's ENV sets."""
        path = f"{self.folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        return {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def find(self, program: str) -> str | None:
        """Return the path of a program of the image."""
        return shutil.which(program, path=self.environment["PATH"])


def make_image(reference: str, version: str, folder: Path) -> Image:
    """Copy the service as it is now, with this version, so that one can see which code runs."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    init = folder / "consumer" / "__init__.py"
    text = init.read_text()
    renamed = text.replace(f'"{__version__}"', f'"{version}"')
    assert version in renamed, text
    init.write_text(renamed)
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    (folder / "entry.py").write_text(ENTRY.format(folder=str(folder)))
    program = folder / "bin" / PROGRAM
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{folder / 'entry.py'}' \"$@\"\n")
    program.chmod(0o755)
    compileall.compile_dir(folder, quiet=1)
    return Image(reference, folder, f"sha256:{digest.hexdigest()}")
