"""A page in a browser, and what the tests do with it."""

from __future__ import annotations

from time import monotonic, sleep

import numpy as np


class Screen:
    """What the tests do with the page."""

    def __init__(self, browser, page):
        self.browser = browser
        self.width(1100)
        browser.get(page.as_uri())

    def width(self, width):
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)

    def __call__(self, selector):
        return self.browser.find_element("css selector", selector)

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def promised(self, promise):
        """Return what a promise comes to."""
        return self.browser.execute_async_script(f"({promise}).then(arguments[0])")

    def texts(self, selector):
        """Return what stands in the elements, as it is in the page: `.text` would tidy
        white space.
        """
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)",
            selector,
        )

    def until(self, condition):
        """Wait for what the browser decodes in its own time."""
        end = monotonic() + 10
        while not self.run(f"return {condition}"):
            assert monotonic() < end, condition
            sleep(0.02)

    def choose(self, selector, value):
        self.run("arguments[0].value = arguments[1]", self(selector), value)
        for event in ("input", "change"):
            self.run(
                "arguments[0].dispatchEvent(new Event(arguments[1], { bubbles: true }))",
                self(selector),
                event,
            )

    def keys(self, *keys):
        """Press keys, wherever the focus is: nowhere, too, as where a button was disabled."""
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(*keys).perform()

    def matrix(self):
        return tuple(int(self(f"#{name}").text) for name in ("tp", "fn", "fp", "tn"))


def errors(browser):
    return [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]


def truth(parts):
    dataset, evaluation = parts[1:3]
    return np.array([item.abnormal for item in dataset.test]), np.array(evaluation.scores)


def matrix_at(parts, threshold):
    abnormal, scores = truth(parts)
    flagged = scores > threshold
    return tuple(
        int((chosen & kind).sum())
        for kind in (abnormal, ~abnormal)
        for chosen in (flagged, ~flagged)
    )
