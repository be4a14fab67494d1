"""The report in a real headless Chromium, driven by playwright."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import report_folder
from PIL import Image

from dctcodec.eval.report import write_report
from dctcodec.eval.report.browser import find_browser, screenshot

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra `dev`)")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, photo: Any) -> Path:
    folder = tmp_path_factory.mktemp("run")
    out = folder / "report.html"
    originals = report_folder.make(folder, photo)
    write_report(folder, originals, out, decode=report_folder.decode, encode=report_folder.encode)
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = find_browser()
    if path is None:
        pytest.skip(
            "no Chromium; Debian: apt-get install chromium, or name it in $DCTCODEC_BROWSER"
        )
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=str(path), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def complaints() -> list[str]:
    return []


def opened(browser: Any, report: Path, complaints: list[str], **settings: Any) -> Any:
    """The page in a fresh context without network; what it complains of goes into a list."""
    context = browser.new_context(**({"viewport": {"width": 1200, "height": 900}} | settings))
    context.set_default_timeout(90_000)  # a busy machine is no failure
    context.set_offline(True)
    page = context.new_page()
    page.on("console", lambda m: complaints.append(m.text) if m.type != "log" else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on("requestfailed", lambda r: complaints.append(r.url[:80]))
    page.goto(report.as_uri())
    page.wait_for_selector("#rd svg .series")
    return page


@pytest.fixture
def page(browser: Any, report: Path, complaints: list[str]) -> Iterator[Any]:
    page = opened(browser, report, complaints)
    yield page
    page.context.close()
    assert not complaints


def test_the_page_draws_everything_and_asks_for_nothing(page: Any) -> None:
    assert page.locator("#rd .series").count() == 4  # three codecs and a published curve
    assert page.locator("#scatter .series path").count() >= 2
    assert page.locator("#timing .series").count() == 3
    assert page.locator("#strip figure").count() == 7
    foreign = "performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:'))"
    assert page.evaluate(f"{foreign}.length") == 0
    broken = "[...document.images].filter(i => i.src && i.complete && !i.naturalWidth).length"
    page.wait_for_function("[...document.images].filter(i => i.src).every(i => i.complete)")
    assert page.evaluate(broken) == 0


def test_published_curves_are_dashed_and_named_so(page: Any) -> None:
    group = page.locator('#rd .series[data-name*="published"]')
    assert group.count() == 1
    assert group.locator("path").first.get_attribute("stroke-dasharray") != "none"
    ours = page.locator('#rd .series[data-name="dctcodec"] path').first
    assert ours.get_attribute("stroke-dasharray") == "none"
    assert "Published" in page.locator("#legend").inner_text()


def test_the_measure_and_the_axis_can_be_switched(page: Any) -> None:
    def label() -> str:
        return str(page.locator("#rd .axis-y").text_content())

    def ticks() -> list[str]:
        return [
            str(t) for t in page.locator("#rd svg > g").first.locator("text").all_text_contents()
        ]

    assert label() == "PSNR RGB, dB"
    before = ticks()
    page.select_option("#which", "0")  # one picture: the means lack MS-SSIM, a photo is too small
    for metric, axis in (
        ("psnr_y", "PSNR Y, dB"),
        ("ms_ssim_db", "MS-SSIM, dB"),
        ("ms_ssim", "MS-SSIM"),
    ):
        page.check(f'#metric input[value="{metric}"]')
        assert label() == axis
        assert page.locator("#rd .series path").count() > 4
    assert ticks() != before
    assert page.locator('#metric input[value="ssim"]').is_disabled()  # the run has none
    log = ticks()
    page.check('#scale input[value="linear"]')
    assert ticks() != log


def test_hovering_shows_codec_setting_rate_and_value(page: Any) -> None:
    tip = page.locator("#rd .tip")
    assert tip.is_hidden()
    point = page.locator('#rd .series[data-name="dctcodec"] path').nth(2)
    point.hover(force=True)
    assert tip.is_visible()
    words = tip.inner_text()
    for part in ("dctcodec", "level", "bpp", "dB", "% bits against JPEG 4:2:0"):
        assert part in words
    page.mouse.move(5, 5)
    assert tip.is_hidden()


def test_the_curves_can_be_read_with_the_keyboard(page: Any) -> None:
    page.locator("#rd svg").focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#rd .tip").inner_text()
    page.keyboard.press("ArrowRight")
    second = page.locator("#rd .tip").inner_text()
    page.keyboard.press("ArrowDown")
    third = page.locator("#rd .tip").inner_text()
    assert len({first, second, third}) == 3
    page.keyboard.press("Escape")
    assert page.locator("#rd .tip").is_hidden()


def test_the_legend_switches_curves(page: Any) -> None:
    button = page.locator("#legend .keys button", has_text="JPEG 4:2:0")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator("#rd .series").count() == 3


def clip(page: Any) -> str:
    return str(page.evaluate("getComputedStyle(document.getElementById('over')).clipPath"))


def test_the_slider_moves_by_pointer_and_keyboard(page: Any) -> None:
    page.locator("#stage").scroll_into_view_if_needed()
    assert clip(page) == "inset(0px 0px 0px 50%)"
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 40, steps=4)
    page.mouse.up()
    assert clip(page) == "inset(0px 0px 0px 25%)"
    page.locator("#slider").focus()
    page.keyboard.press("ArrowRight")
    assert clip(page) == "inset(0px 0px 0px 25.5%)"


def test_the_viewer_changes_pictures_sides_and_zoom(page: Any) -> None:
    def source(side: str) -> str:
        return str(page.evaluate(f"document.getElementById('img-{side}').src"))

    assert "JPEG 4:2:0" in page.locator("#tag-left").inner_text()
    assert "bytes" in page.locator("#tag-right").inner_text()
    left = source("left")
    page.select_option("#left", "original")
    assert source("left") != left and page.locator("#tag-left").inner_text() == "original"
    right = source("right")
    page.locator("#thumbs button").nth(1).click()
    assert source("right") != right
    assert page.evaluate("document.getElementById('img-left').getBoundingClientRect().width") == 204
    page.check('#zoom input[value="4"]')
    assert page.evaluate("document.getElementById('img-left').getBoundingClientRect().width") == 816
    for button in ("#flip", "#difference"):
        page.locator(button).click()
        assert page.locator(button).get_attribute("aria-pressed") == "true"


def test_scatter_timing_and_table_answer(page: Any) -> None:
    page.locator("#scatter .series path").first.hover(force=True)
    assert (
        "face" in page.locator("#scatter .tip").inner_text()
        or page.locator("#scatter .tip").is_visible()
    )
    label = page.locator("#scatter .axis-y").text_content()
    page.select_option("#by", "at_0.5")
    assert page.locator("#scatter .axis-y").text_content() != label
    page.check('#way input[value="encode"]')
    assert "encoding" in page.locator("#timing .axis-title").first.text_content()
    first = page.locator("table.sortable tbody tr").first.inner_text()
    page.locator("table.sortable thead button").first.click()
    page.locator("table.sortable thead button").first.click()
    assert page.locator("table.sortable tbody tr").first.inner_text() != first
    page.locator("#added").click()
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.strip .before')).visibility")
        == "visible"
    )


def colours(page: Any) -> list[str]:
    return [
        str(page.evaluate(code))
        for code in (
            "getComputedStyle(document.body).backgroundColor",
            "getComputedStyle(document.body).color",
            "getComputedStyle(document.querySelector('#rd [data-name=dctcodec] path')).stroke",
        )
    ]


def test_dark_and_light_differ_by_system_and_by_button(
    browser: Any, report: Path, complaints: list[str]
) -> None:
    light = opened(browser, report, complaints, color_scheme="light")
    dark = opened(browser, report, complaints, color_scheme="dark")
    assert all(a != b for a, b in zip(colours(light), colours(dark), strict=True))
    seen = colours(dark)
    dark.locator("#theme").click()  # auto → light
    assert colours(dark) == colours(light)
    dark.locator("#theme").click()
    assert colours(dark) == seen
    for page in (light, dark):
        page.context.close()
    assert not complaints


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_has_no_sideways_scroll_and_touch_moves_the_slider(
    browser: Any, report: Path, complaints: list[str], width: int
) -> None:
    page = opened(
        browser, report, complaints, viewport={"width": width, "height": 780}, has_touch=True,
        is_mobile=True, device_scale_factor=2,
    )  # fmt: skip
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    stage = page.locator("#stage")
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    assert box["width"] <= width
    page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    assert clip(page) == "inset(0px 0px 0px 75%)"
    chart = page.locator("#rd svg").bounding_box()
    assert chart["x"] >= 0 and chart["x"] + chart["width"] <= width
    page.context.close()
    assert not complaints


def test_a_screenshot_shows_the_page(report: Path, browser: Any, tmp_path: Path) -> None:
    screenshot(report, tmp_path / "report.png", width=900, height=1400)
    with Image.open(tmp_path / "report.png") as image:
        assert image.size == (900, 1400)
        colours = image.convert("RGB").getcolors(1 << 24)
        assert colours is not None and len(colours) > 200
