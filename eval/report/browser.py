"""A headless Chromium, where there is one: for the report's screenshot and its tests."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from ...codec.errors import DctcodecError, OutputError
from ...codec.pictures import atomic_write

__all__ = ["find_browser", "screenshot"]

NAMES = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome",
    "microsoft-edge",
)  # fmt: skip


def find_browser() -> Path | None:
    """Chromium or a relative: `$DCTCODEC_BROWSER`, on the path, or playwright's own."""
    named = os.environ.get("DCTCODEC_BROWSER")
    if named:
        return Path(named) if Path(named).is_file() else None
    for name in NAMES:
        if found := shutil.which(name):
            return Path(found)
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / ".cache/ms-playwright"))
    pattern = "chromium*/chrome*-linux*/*"
    names = ("chrome", "headless_shell", "chrome-headless-shell")
    return next((p for p in sorted(cache.glob(pattern)) if p.name in names), None)


def screenshot(html: Path, out: Path, *, width: int = 1280, height: int = 3100) -> None:
    """A PNG of the top of a page.

    Args:
        width, height: of the window, CSS pixels, which are the PNG's.

    Raises:
        DctcodecError: there is no browser; OutputError: it wrote nothing.
    """
    browser = find_browser()
    if browser is None:
        raise DctcodecError(
            "no Chromium found; install one (Debian: apt-get install chromium) or name it in "
            "$DCTCODEC_BROWSER"
        )
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        command = [
            str(browser), "--headless=new", "--disable-gpu", "--no-sandbox", "--hide-scrollbars",
            "--force-device-scale-factor=1", f"--user-data-dir={folder}/profile",
            f"--window-size={width},{height}", "--virtual-time-budget=8000",
            f"--screenshot={shot}", html.resolve().as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        if not shot.exists():
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise OutputError(f"{out}: {browser.name} made no screenshot: {' '.join(last)}")
        small = io.BytesIO()
        with Image.open(shot) as image:
            image.convert("RGB").save(small, "PNG", optimize=True)
        atomic_write(out, small.getvalue(), True)
