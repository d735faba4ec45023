"""Keeps the copies of the released contract as they were released.

`schemas/released/SHA256SUMS` has the SHA-256 digest of each file, in the format of `sha256sum`.
`python -m dev.released_contract` adds the files of a new release. It refuses a copy that changed.
"""

import hashlib
import sys
from pathlib import Path
from typing import Final

RELEASED: Final = Path(__file__).parents[1] / "schemas" / "released"
SUMS: Final = "SHA256SUMS"
HOW_TO_ADD: Final = "add it at its release: python -m dev.released_contract"


def digests(released: Path) -> dict[str, str]:
    """Return the SHA-256 digest of each file of the copies, by its path in the directory."""
    files = sorted(path for path in released.rglob("*") if path.is_file() and path.name != SUMS)
    return {
        path.relative_to(released).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def pinned(released: Path) -> dict[str, str]:
    """Return the digests at the release of each file."""
    path = released / SUMS
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = [line.split("  ", 1) for line in lines]
    return {name: digest for digest, name in pairs}


def changed_copies(released: Path) -> list[str]:
    """Return a message for each file that is not as it was released."""
    found = digests(released)
    return [
        f"{SUMS}: {name} {'changed' if name in found else 'was removed'} after its release"
        for name, digest in pinned(released).items()
        if found.get(name) != digest
    ]


def unpinned(released: Path) -> list[str]:
    """Return a message for each file that changed, or that has no digest."""
    new = digests(released).keys() - pinned(released).keys()
    return changed_copies(released) + [
        f"{SUMS}: {name} has no digest; {HOW_TO_ADD}" for name in sorted(new)
    ]


def main(released: Path = RELEASED) -> int:
    """Add the digests of new files; return the exit code."""
    changed = changed_copies(released)
    if changed:
        print("\n".join(changed), file=sys.stderr)
        return 1
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests(released).items())]
    (released / SUMS).write_text("".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
