"""The report in a browser: it sorts, sounds, fits a phone, and asks the network for nothing."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.report.demo_page import render_demo
from benchmarks.report.render import render_page
from toys.result_toys import demo_results, frontier, melodies, molecules

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"needs a browser: none of {', '.join(NAMES)} is on the path")

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
MAIN_TABLE = "#wins table.sorts"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for make in (melodies, frontier, molecules):
        (folder / f"{make.__name__}.html").write_text(render_page(make()), encoding="utf-8")
    (folder / "demo.html").write_text(render_demo(demo_results()), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        opened = started.chromium.launch(executable_path=BROWSER, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, files):
    """Opens a page; at the end says whether it complained, or asked for anything but itself."""
    contexts, complaints, requests = [], [], []

    def visit(name="melodies", viewport=DESK, **options):
        context = browser.new_context(viewport=viewport, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto((files / f"{name}.html").as_uri())
        return tab

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []
    assert requests and [url for url in requests if not url.startswith(("data:", files.as_uri()))] == []


def column(tab, number):
    return tab.locator(f"{MAIN_TABLE} tbody tr > :nth-child({number})").evaluate_all(
        "cells => cells.map(cell => cell.dataset.order === undefined ? null : cell.dataset.order)"
    )


def button(tab, title):
    return tab.locator(f"{MAIN_TABLE} thead button", has_text=title).first


def state(tab, title):
    return button(tab, title).locator("xpath=..").get_attribute("aria-sort")


def test_a_table_is_sorted_both_ways_by_click(visit):
    tab = visit()
    assert state(tab, "J") == "descending"
    falling = [float(text) for text in column(tab, 3)]
    assert falling == sorted(falling, reverse=True)
    button(tab, "J").click()
    assert state(tab, "J") == "ascending" and [float(text) for text in column(tab, 3)] == falling[::-1]
    button(tab, "J").click()
    assert state(tab, "J") == "descending" and [float(text) for text in column(tab, 3)] == falling
    button(tab, "Agent").click()
    assert state(tab, "Agent") == "ascending" and state(tab, "J") == "none"
    assert column(tab, 1)[:3] == ["G", "PG", "prior"]
    button(tab, "Repeated").click()  # less is better, so the least comes first
    shares = [float(text) for text in column(tab, 7)]
    assert state(tab, "Repeated") == "ascending" and shares == sorted(shares)


def test_a_table_is_sorted_by_the_keyboard_and_what_is_not_known_stays_last(visit):
    tab = visit("molecules")
    cells = "document.querySelector('#wins table.sorts tbody tr').cells[3]"
    tab.evaluate(f"{cells}.removeAttribute('data-order')")
    tab.locator("body").press("Tab")
    focus = "document.activeElement.textContent"
    for _ in range(40):
        if tab.evaluate(focus).startswith("KL"):
            break
        tab.keyboard.press("Tab")
    assert tab.evaluate(focus).startswith("KL")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for key, order in (("Enter", "descending"), ("Space", "ascending"), ("Enter", "descending")):
        tab.keyboard.press(key)
        assert state(tab, "KL") == order and column(tab, 4)[-1] is None


def test_a_melody_sounds_and_stops(visit):
    tab = visit()
    first, second = tab.locator(".play").nth(1), tab.locator(".play").nth(2)
    assert first.text_content() == "▶ Play"
    first.click()
    place = (
        "() => Number(/[\\d.]+/.exec(document.querySelector('.playing .playhead').getAttribute('transform') || '0'))"
    )
    tab.wait_for_function(f"audio.state === 'running' && ({place})() > 10")
    before = tab.evaluate(place)
    tab.wait_for_function(f"({place})() > {before + 10}")
    assert first.text_content() == "■ Stop" and first.get_attribute("aria-label").startswith("Stop Ψ")
    second.click()
    assert first.text_content() == "▶ Play" and tab.locator(".playing").count() == 1
    second.click()
    assert tab.locator(".playing").count() == 0 and second.get_attribute("aria-label").startswith("Play G")
    first.focus()
    tab.keyboard.press("Enter")
    assert tab.locator(".playing").count() == 1
    tab.keyboard.press("Escape")
    assert tab.locator(".playing").count() == 0


def test_what_sounds_are_the_tokens(visit):
    """The frequency that is loudest in each note, rendered without a loudspeaker."""
    tab = visit()
    found = tab.evaluate("""async () => {
            audio = new OfflineAudioContext(1, 44100, 44100);
            notesOf([1, 14, 1, 0, 23]).forEach(note => sound(note, 0, audio.destination));
            const samples = (await audio.startRendering()).getChannelData(0), step = 44100 * 60 / 80 / 4;
            const crossings = (from, to) => {
                let count = 0;
                for (let k = Math.floor(from * step); k < to * step; k++)
                    count += samples[k] < 0 && samples[k + 1] >= 0;
                return count / ((to - from) * step / 44100);
            };
            const loudest = (from, to) => Math.max(...samples.slice(from * step, to * step));
            return [crossings(1.1, 2.9), crossings(4.1, 4.9), loudest(0, 1), loudest(3.6, 4), loudest(0, 5)];
        }""")
    # token 14 is MIDI pitch 60, 261.6 Hz; token 23 is 69, 440 Hz; a hold before any note is silent, 0 ends one
    assert found[0] == pytest.approx(261.6, rel=0.02) and found[1] == pytest.approx(440.0, rel=0.02)
    assert found[2] == 0.0 and found[3] < 0.02 and 0.1 < found[4] < 1.0


def test_a_playhead_jumps_from_beat_to_beat_for_those_who_want_no_motion(visit):
    tab = visit(reduced_motion="reduce")
    tab.locator(".play").first.click()
    tab.wait_for_function("audio.currentTime > 1.1")
    moved = tab.locator(".playing .playhead").get_attribute("transform")
    assert moved in ("translate(40)", "translate(80)")


def test_a_mark_shows_its_numbers(visit):
    tab = visit("frontier")
    tab.locator(".point").first.focus()
    assert tab.locator(".told").text_content().startswith("Ψ, c = 0.5: Return R ")


PANES = """() => [...document.querySelectorAll(".scroll")].map(pane => ({
    overflows: pane.scrollWidth > pane.clientWidth + 1,
    hint: getComputedStyle(pane.parentElement.querySelector(".hint")).visibility === "visible",
    shadow: getComputedStyle(pane.parentElement, "::after").opacity === "1",
}))"""
BROKEN = """() => [...document.querySelectorAll("td")].filter(cell => {
    const range = document.createRange();
    return [...cell.childNodes].some(node => {
        range.selectNodeContents(node);
        return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1;
    });
}).length"""


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", ["melodies", "frontier", "molecules", "demo"])
def test_every_table_fits_or_says_that_it_scrolls(visit, name, viewport):
    tab = visit(name, viewport)
    for folded in tab.locator("details").all():
        folded.evaluate("one => one.open = true")
    tab.evaluate("() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    panes = tab.evaluate(PANES)
    assert panes and all(pane["hint"] == pane["shadow"] == pane["overflows"] for pane in panes)
    wide = {"desk": [], "phone": ["frontier", "melodies", "molecules"]}  # the others' tables all fit
    assert any(pane["overflows"] for pane in panes) == (name in wide["phone" if viewport is PHONE else "desk"])
    assert tab.evaluate(BROKEN) == 0  # no number is broken over two lines


def test_the_shadow_moves_to_the_left_at_a_tables_end(visit):
    tab = visit("melodies", PHONE)
    pane = tab.locator("#wins .scroll").first
    pane.evaluate("box => box.scrollLeft = box.scrollWidth")
    tab.wait_for_function("document.querySelector('#wins .table-box').className === 'table-box more-left'")


def test_agent_and_task_stay_in_sight_on_a_phone(visit):
    tab = visit("frontier", PHONE)
    name = tab.locator(f"{MAIN_TABLE} tbody th").first
    name.locator("xpath=ancestor::div").first.evaluate("box => box.scrollLeft = 300")
    assert name.bounding_box()["x"] < 30 and "c=0.5" in name.inner_text() and "Ψ" in name.inner_text()
    wide = visit("frontier")
    assert "c=0.5" not in wide.locator(f"{MAIN_TABLE} tbody th").first.inner_text()


def test_light_and_dark_differ_and_are_legible(visit):
    seen = {}
    for scheme in ("light", "dark"):
        tab = visit(color_scheme=scheme)
        seen[scheme] = tab.evaluate(
            """() => ["body", ".remark", ".plot svg text", ".play", "td.best b"].map(selector => {
                const style = getComputedStyle(document.querySelector(selector));
                return selector.includes("svg") ? style.fill : style.color;
            }).concat(getComputedStyle(document.querySelector(".table-box")).backgroundColor)"""
        )
    *inks, paper = seen["light"]
    assert all(contrast(ink, paper) > 4.5 for ink in inks)  # WCAG's AA
    *inks, paper = seen["dark"]
    assert all(contrast(ink, paper) > 4.5 for ink in inks)
    assert contrast(seen["light"][-1], seen["dark"][-1]) > 10


def contrast(one, other):
    """WCAG's ratio of two colours, "rgb(1, 2, 3)" each."""

    def luminance(colour):
        shares = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
