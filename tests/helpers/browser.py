"""Chromium for the tests of pages: widths, calm, and the script of a page."""

import json
import shutil
from pathlib import Path

import pytest


webdriver = pytest.importorskip("selenium.webdriver", reason="the page is driven by selenium, which is not installed")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium or chromedriver is not on the PATH")


def start_browser():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))


def resize(browser, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def open_page(browser, path: Path) -> None:
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())


def assert_is_calm(browser, title: str = "Title") -> None:
    """No script of a text ran, nothing was logged (a breach of the policy would be), nothing was asked of a network."""
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert sent and all(url.startswith(("file:", "data:")) for url in sent), sent
    assert browser.title.startswith(title) and browser.title != "ran"


def run(browser, script: str, *arguments):
    return browser.execute_script(script, *arguments)


def find(browser, selector: str):
    return browser.find_element("css selector", selector)


def show_all(browser) -> None:
    run(browser, "[...document.querySelectorAll('#more button')].at(-1)?.click()")
