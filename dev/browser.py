"""Runs headless Chromium: returns the document of a page, or takes a screenshot."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60
# The sandbox needs privileges that a container does not have. It is off, because only pages of this
# project are loaded. Background requests of the browser are off.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--disable-lcd-text",  # grey antialiasing makes smaller files
)
LIGHT, DARK = "light", "dark"


def find_browser() -> str | None:
    """Return the path of the browser, or None if none is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def shown_document(url: str, window: tuple[int, int] = (1100, 900)) -> str:
    """Return the DOM of a page after its scripts have run."""
    return _run(window, "--dump-dom", url).decode()


def take_picture(
    url: str, path: Path, *, scheme: str = LIGHT, window: tuple[int, int] = (1100, 900)
) -> None:
    """Write a PNG of a page, rendered for this preferred color scheme."""
    # Values of Blink's preferred color scheme: 0 dark, 1 light.
    preferred = f"--blink-settings=preferredColorScheme={0 if scheme == DARK else 1}"
    path.unlink(missing_ok=True)
    _run(window, preferred, f"--screenshot={path}", url)


def _run(window: tuple[int, int], *arguments: str) -> bytes:
    program = find_browser()
    if program is None:
        message = f"no browser: none of {', '.join(NAMES)} is installed"
        raise RuntimeError(message)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        size = f"--window-size={window[0]},{window[1]}"
        command = [program, *FLAGS, f"--user-data-dir={profile}", size, *arguments]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=True)  # noqa: S603 - the flags are ours
        return done.stdout
