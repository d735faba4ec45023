"""A real browser without a window: Chromium, which shows a page or takes its picture."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60
# The sandbox needs rights that a container does not have; the pages are our own. What it would
# look up or load by itself is switched off.
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
    "--disable-lcd-text",  # grey edges of letters: smaller pictures
)
LIGHT, DARK = "light", "dark"


def find_browser() -> str | None:
    """Return the program, None when there is none on this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def shown_document(url: str, window: tuple[int, int] = (1100, 900)) -> str:
    """Return the document that the browser has made of a page, scripts and styles applied."""
    return _run(window, "--dump-dom", url).decode()


def take_picture(
    url: str, path: Path, *, scheme: str = LIGHT, window: tuple[int, int] = (1100, 900)
) -> None:
    """Write a PNG of a page, as whoever prefers this colour scheme sees it."""
    # Blink's enumeration of preferred schemes: 0 dark, 1 light.
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
