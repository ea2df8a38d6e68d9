"""A report in a browser: nothing is wider than a phone, and nothing is hidden in print."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report.blocks import Details, Picture, Prose, Section, Table
from benchmarks.report.page import write_report
from benchmarks.report.sections import build_sections

PHONE = 390  # CSS pixels, the width of most phones
MEASURE = """<!doctype html><iframe src="page.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  const shown = page.querySelectorAll("svg");
  const seen = [...shown].filter((svg) => svg.getBoundingClientRect().width > 0);
  const high = [...seen].map((svg) => svg.querySelector("text").getBoundingClientRect().height);
  document.title = [page.documentElement.scrollWidth, seen.length, Math.min(...high)].join(" ");
}})</script>"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> list[str]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no Chromium on this machine")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files")
    return [found, *flags, "--virtual-time-budget=4000"]


def result() -> dict[str, Any]:
    """A benchmark with long names, a hash, and ratios."""
    models = [
        {
            "name": f"runs/street-{'long-' * 8}{k}.onnx",
            "backend": "ort",
            "precision_proved": {"int8": 47, "float32": 13},
            "samples": 60,
            "p50_ms": 12.3,
            "p90_ms": 15.1,
            "stages_ms": {"decode": 1.0, "letterbox": 1.0, "inference": 9.0, "postprocess": 0.5},
            "samples_ms": {"inference": [9.0, 9.5, 10.0], "decode": [1.0, 1.0, 1.1]},
            "environment": {"sha256": "0123456789abcdef" * 4},
            "doubts": ["a doubt about " + "x" * 90],
        }
        for k in range(2)
    ]
    ratio = {"a": models[0]["name"], "b": models[1]["name"], "measure": "inference", "a_ms": 9.0, "b_ms": 9.0}
    ratio |= {"ratio": 1.0, "low": 0.9, "high": 1.1, "verdict": "can't tell", "reason": "it reaches 1"}
    command = "edgestill bench " + "a-very-long-name.onnx " * 12
    return {"kind": "bench", "scenario": "single", "models": models, "ratios": [ratio], "command": command}


def measured(browser: list[str], folder: Path, width: int) -> list[float]:
    """Width that the page takes, number of drawings that are shown, height of their smallest text."""
    (folder / "frame.html").write_text(MEASURE.format(width=width))
    url = (folder / "frame.html").as_uri()
    done = subprocess.run([*browser, "--dump-dom", url], capture_output=True, text=True, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title, done.stdout[:500]
    return [float(number) for number in title[1].split()]


@pytest.mark.parametrize("width", [320, PHONE, 1200])
def test_no_page_is_wider_than_its_screen(browser: list[str], width: int, tmp_path: Path) -> None:
    write_report(build_sections([("bench.json", result())]), tmp_path / "page.html", title="T" * 40)
    taken, drawings, text_px = measured(browser, tmp_path, width)
    assert taken <= width
    assert drawings == 2  # of each pair one
    assert text_px >= 9


def test_what_is_folded_away_is_printed(browser: list[str], tmp_path: Path) -> None:
    pdftotext = shutil.which("pdftotext") or pytest.skip("no pdftotext on this machine")
    folded = Details(summary="More", blocks=[Prose("foldedaway"), Table(columns=("a",), rows=[["incell"]])])
    picture = Picture(data=b"", mime="image/png", caption="below")
    section = Section(title="T", blocks=[folded, picture])
    write_report([section], tmp_path / "page.html", title="T")
    out = tmp_path / "page.pdf"
    command = [*browser, f"--print-to-pdf={out}", (tmp_path / "page.html").as_uri()]
    subprocess.run(command, capture_output=True, check=True)
    text = subprocess.run([pdftotext, str(out), "-"], capture_output=True, text=True, check=True).stdout
    for word in ("foldedaway", "incell", "below"):
        assert word in text
