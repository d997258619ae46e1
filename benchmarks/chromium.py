"""Debian's Chromium without a window, through its driver: for tests, benchmarks and pictures of pages.

apt-get install chromium chromium-driver
"""

from __future__ import annotations

import base64
import os
import shutil
from pathlib import Path

BROWSER = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
# Why there is no browser, or nothing.
MISSING = (
    "" if BROWSER and DRIVER else "chromium and chromedriver are not there: apt-get install chromium chromium-driver"
)

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


class Chromium:
    """A browser with a profile of its own.

    Args:
        profile: An empty folder.
    """

    def __init__(self, profile: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        os.environ["SE_OFFLINE"] = "true"  # nothing is to be downloaded in place of what is installed
        options = webdriver.ChromeOptions()
        options.binary_location = str(BROWSER)
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))

    def show(self, page: Path, width: int = 1280, theme: str = "light", medium: str = "") -> None:
        """Open a page.

        Args:
            page: The file.
            width: Of the window, in CSS pixels.
            theme: "light" or "dark".
            medium: "print" for the page as it is printed.
        """
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.do("Emulation.setEmulatedMedia", media=medium, features=features)
        self.driver.get(page.resolve().as_uri())

    def do(self, command: str, **arguments: object) -> dict:
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def ask(self, script: str, *arguments: object) -> object:
        """What a piece of JavaScript answers; it is run by the browser's tools, which a page's policy does not bind."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the console has got since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def picture(self, most: int = 4000) -> bytes:
        """The page from its top as a PNG, at most so many pixels high."""
        width, height = self.ask("return [innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, most), "scale": 1}
        taken = self.do("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(taken["data"])

    def close(self) -> None:
        """End it."""
        self.driver.quit()
