"""What the documentation says of the code is current, and what it links to is there."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])
TABLES = ROOT / "docs" / "tables.py"


def test_table_of_methods_is_current():
    finished = subprocess.run([sys.executable, TABLES, "--check"], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_a_stale_table_is_found():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    stale = page.replace("| `tokens` | `8` |", "| `tokens` | `7` |")
    updated = runpy.run_path(str(TABLES))["updated"]
    assert stale != page and updated(stale) == page
    with pytest.raises(ValueError, match="one block"):
        updated(page.replace("<!-- end -->", ""))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name} links to {link}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert anchor in anchors, f"{page.name} links to {link}"
