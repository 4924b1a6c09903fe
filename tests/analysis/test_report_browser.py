"""The page of `analyze` in a real browser: slider, filters, tokens by mouse and keyboard, hostile text, both widths."""

import json
import math
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.browser import (
    assert_is_calm,
    find,
    needs_browser,
    open_page,
    resize,
    run,
    show_all,
    start_browser,
    webdriver,
)
from helpers.report_records import make_record, make_records
from trl_forking.analysis.forks import select_forks
from trl_forking.analysis.report import write_report
from trl_forking.analysis.summary import summarize


pytestmark = [pytest.mark.slow, needs_browser]

ALERT = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
ARABIC = ["مر", "حبا", "،", " كيف", " حال", "ك", "؟"]
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><script>alert(1)</script><path d="M0 0h40v20z"/></svg>'


def make_page_records():
    records = make_records(26, 50)
    records[1] = replace(records[1], kept=np.arange(50) % 7 == 0)
    records[2:2] = [
        make_record(ARABIC, np.linspace(0, 2, 7), 90, 0, reward=1.0, prompt="اكتب تحية"),
        make_record([], [], 90, 1, reward=0.0),
        make_record(["", "🙂", "\n\n", "  ", "\u202e", "\x00", "\ud800", ALERT], np.arange(8.0), 91, 0, prompt=ALERT),
        make_record([ALERT, "z" * 200], [0.4, 0.3], 91, 1, prompt=ALERT, is_truncated=True, reward=0.5, hes=1.25),
    ]
    return records


@pytest.fixture(scope="module")
def browser():
    driver = start_browser()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "page.html"
    records = make_page_records()
    write_report(
        path,
        records,
        title=f"Title {ALERT}",
        settings={"model": ALERT, "long": "x" * 300},
        summary=summarize(records, min_count=1),
        figures={"A figure": SVG},
        tables=[(ALERT, ["token", "a header that is rather long", "n"], [[ALERT, "y" * 120, 1]])],
    )
    return path


@pytest.fixture
def page(browser, path):
    resize(browser, 1280)
    open_page(browser, path)
    yield browser
    assert_is_calm(browser)


def press(browser, *keys: str) -> None:
    webdriver.ActionChains(browser).send_keys(*keys).perform()


def read_kept(browser) -> list[bool]:
    return run(browser, "return [...document.querySelectorAll('.tokens .token')].map(t => t.matches('.kept'))")


Keys = webdriver.Keys


def test_slider_marks_the_forks_of_every_share(page):
    entropies = [record.entropies for record in make_page_records()]
    num_tokens = sum(map(len, entropies))
    show_all(page)
    slider = find(page, "#share")
    seen = []
    for keys in ([], [Keys.ARROW_RIGHT], [Keys.ARROW_LEFT] * 14, [Keys.PAGE_UP], [Keys.END], [Keys.HOME]):
        slider.send_keys(*keys)
        percent = int(slider.get_attribute("value"))
        kept = read_kept(page)
        forks = np.concatenate(select_forks(entropies, percent / 100))
        assert kept == forks.tolist(), percent
        assert sum(kept) == math.ceil(percent * num_tokens / 100)
        threshold = min(entropy for entropy, fork in zip(np.concatenate(entropies), forks, strict=True) if fork)
        spoken = slider.get_attribute("aria-valuetext")
        assert spoken == f"{percent} %, {sum(kept):,} of {num_tokens:,} tokens kept, from {threshold:.3f} nats up"
        assert find(page, "#share-text").text == f"{percent} %"
        assert find(page, "#kept-text").text == f"{sum(kept):,} of {num_tokens:,} tokens"
        seen.append(percent)
    assert seen[:3] == [20, 21, 7] and seen[-2:] == [100, 1]


def test_counts_of_an_answer_follow_the_slider(page):
    find(page, "#share").send_keys(Keys.END)
    assert find(page, ".answer .kept-count").text == "50 kept (100 %)"
    find(page, "#share").send_keys(Keys.HOME)
    show_all(page)  # answers that were not there when the slider moved
    texts = run(page, "return [...document.querySelectorAll('.kept-count')].map(e => parseInt(e.textContent) || 0)")
    assert sum(texts) == sum(read_kept(page)) == 14


def test_filters_by_verdict_and_text(page):
    for verdict, mark, count in (("right", "✓ right", 9), ("wrong", "✗ wrong", 14), ("unknown", "– not judged", 7)):
        run(page, "document.getElementById(arguments[0]).focus()", f"verdict-{verdict}")
        press(page, Keys.SPACE)
        verdicts = [element.text for element in page.find_elements("css selector", ".verdict")]
        assert verdicts == [mark] * count
        assert find(page, "#status").text == f"{count} shown of {count} that match, of 30."
    run(page, "document.getElementById('verdict-all').click()")
    find(page, "#query").send_keys("onerror=")
    wait_for(page, "2 shown of 2 that match, of 30.")
    assert {element.text for element in page.find_elements("css selector", ".found")} == {ALERT}
    find(page, "#query").send_keys("nowhere")
    wait_for(page, "No answer matches.")


def wait_for(browser, status: str) -> None:
    deadline = time.monotonic() + 5
    while find(browser, "#status").text != status:
        assert time.monotonic() < deadline, find(browser, "#status").text
        time.sleep(0.02)


def test_found_tokens_are_those_that_hold_the_text(page):
    tokens = make_page_records()[0].tokens
    text = "".join(tokens[10:13]).lower()
    find(page, "#query").send_keys(text)
    deadline = time.monotonic() + 5
    while not page.find_elements("css selector", ".found"):
        assert time.monotonic() < deadline
    found = run(
        page,
        "return [...document.querySelector('.tokens').children].map((t, i) => t.matches('.found') ? i : -1).filter(i => i >= 0)",
    )
    assert set(found) >= {10, 11, 12}
    expected, start, joined = set(), 0, "".join(tokens).lower()
    ends = np.cumsum([len(token) for token in tokens])
    while (start := joined.find(text, start)) >= 0:
        expected |= {i for i, end in enumerate(ends) if end > start and end - len(tokens[i]) < start + len(text)}
        start += len(text)
    assert set(found) == expected


def test_hovering_shows_the_token(page):
    record = make_page_records()[0]
    token = page.find_elements("css selector", ".tokens .token")[4]
    webdriver.ActionChains(page).move_to_element(token).perform()
    text = find(page, "#card").text
    assert f"{record.entropies[4]:.3f} nats" in text and "5 of 50" in text
    probability = 100 * math.exp(record.logprobs[4])
    assert abs(float(find(page, ".drawn .probability").text.rstrip(" %").lstrip("> ")) - probability) < 0.11
    assert [element.text for element in page.find_elements("css selector", "#card li .text")][1:] == ["␣so", "␣wait"]
    assert ("kept" if "kept" in token.get_attribute("class") else "dropped") in text
    webdriver.ActionChains(page).move_to_element(find(page, "h1")).perform()
    assert not find(page, "#card").is_displayed()


def get_focused(browser) -> tuple[int, str]:
    return tuple(
        run(browser, "const t = document.activeElement; return [t.index ?? -1, t.closest('article')?.ariaLabel ?? '']")
    )


def test_tokens_are_walked_with_the_keyboard(page):
    record = make_page_records()[0]
    find(page, "#query").click()
    press(page, Keys.TAB)  # the text of a prompt scrolls, so it can be focused
    press(page, Keys.TAB)
    assert get_focused(page) == (0, "Answer 0 to prompt 0")
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert get_focused(page)[0] == 2 and find(page, "#card").is_displayed()
    token = page.switch_to.active_element
    assert token.get_attribute("role") == "button" and token.get_attribute("aria-describedby") == "token-description"
    spoken = find(page, "#token-description").get_attribute("textContent")
    assert spoken.startswith(f"{record.tokens[2].strip()}: entropy {record.entropies[2]:.3f} nats; probability")
    assert "most probable: " in spoken and ("; kept;" in spoken or "; dropped;" in spoken)
    press(page, Keys.ESCAPE)
    assert not find(page, "#card").is_displayed()
    press(page, Keys.ARROW_LEFT, Keys.ARROW_DOWN)
    kept = np.flatnonzero(read_kept(page)[:50])
    assert get_focused(page)[0] == kept[kept > 1][0]
    press(page, Keys.ARROW_UP, Keys.END, Keys.ARROW_RIGHT)
    assert get_focused(page)[0] == 49  # it stays in the answer
    press(page, Keys.HOME)
    assert len(page.find_elements("css selector", ".answer:first-of-type .token[tabindex]")) >= 1
    press(page, Keys.TAB)
    assert get_focused(page) == (50, "Answer 1 to prompt 0")


def find_answer(browser, name: str):
    return find(browser, f'article[aria-label="{name}"]')


def test_right_to_left_text_stays_whole(page):
    answer = find_answer(page, "Answer 0 to prompt 90")
    text = answer.find_element("css selector", ".tokens")
    assert text.get_property("textContent") == "".join(ARABIC)
    assert run(page, "return getComputedStyle(arguments[0]).direction", text) == "rtl"
    run(page, "arguments[0].querySelector('.token').focus()", answer)
    before = get_focused(page)[0]
    press(page, Keys.ARROW_LEFT)
    assert get_focused(page)[0] == before + 1
    first, last = text.find_elements("css selector", ".token")[0], text.find_elements("css selector", ".token")[-1]
    assert first.rect["x"] > last.rect["x"]


def test_odd_tokens_are_seen_and_run_nothing(page):
    assert "no tokens" in find_answer(page, "Answer 1 to prompt 90").text
    odd = find_answer(page, "Answer 0 to prompt 91")
    marks = [mark.get_attribute("data-mark") for mark in odd.find_elements("css selector", ".mark")]
    assert marks == ["▫", "↵", "↵", "·", "·", "U+202E", "U+0000", "U+D800"]
    assert odd.find_element("css selector", ".tokens").get_property("textContent") == f"🙂\n\n  {ALERT}"
    for token in odd.find_elements("css selector", ".token"):
        assert token.rect["width"] > 0
    badges = find_answer(page, "Answer 1 to prompt 91").find_element("css selector", ".badges").text
    for part in ("✓ right", "2 tokens", "reward 0.5", "HES 1.25", "cut off by the length limit"):
        assert part in badges
    assert len(page.find_elements("css selector", "main img")) == 1  # the figure


def test_trainers_tokens_have_a_mark_of_their_own(page):
    trained = run(page, "return [...document.querySelectorAll('.tokens .trained')].map(t => t.index)")
    assert trained == [50 + i for i in range(0, 50, 7)]
    assert find(page, "#trained-legend").is_displayed()


def test_more_answers_come_on_demand(page):
    assert find(page, "#status").text == "20 shown of 30."
    page.find_elements("css selector", "#more button")[0].click()
    wait_for(page, "30 shown of 30.")
    assert get_focused(page)[1] == "Answer 0 to prompt 4" and not page.find_elements("css selector", "#more button")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_page_fits_the_window_in_both_schemes(browser, path, width, scheme):
    resize(browser, width)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    open_page(browser, path)
    show_all(browser)
    for selector in (".tokens .token", ".answer:last-child .token[tabindex]"):
        run(browser, "document.querySelector(arguments[0]).focus()", selector)
        assert run(browser, "return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        assert run(browser, "return window.innerWidth") == width
        overflows = "return [...document.querySelectorAll('.tokens, .prompt')].filter(e => e.scrollWidth > e.clientWidth).length"
        assert run(browser, overflows) == 0
        card = find(browser, "#card").rect
        assert card["x"] >= 0 and card["x"] + card["width"] <= width
    luminance = sum(run(browser, "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"))
    assert (luminance > 600) == (scheme == "light")
    button = find(browser, "#theme")
    assert button.text == ("Dark theme" if scheme == "light" else "Light theme")
    button.click()
    switched = sum(run(browser, "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"))
    assert (switched > 600) == (scheme == "dark")
    assert_is_calm(browser)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_answer_of_100_000_tokens_can_be_used(browser, tmp_path):
    generator = np.random.default_rng(0)
    entropies = generator.exponential(0.4, 100_000).astype(np.float32)
    record = make_record([f" {number}" for number in range(100_000)], entropies)
    write_report(tmp_path / "long.html", [record], title="Title", settings={}, top_entropy_quantile=0.125)
    resize(browser, 1280)
    start = time.monotonic()
    open_page(browser, tmp_path / "long.html")
    assert time.monotonic() - start < 10
    assert find(browser, "#share-text").text == "12.5 %" and find(browser, "#kept-text").text.startswith("12,500 of")
    assert len(read_kept(browser)) == 1000
    find(browser, ".answer .more button").click()
    assert len(read_kept(browser)) == 3000 and get_focused(browser)[0] == 1000
    find(browser, "#share").send_keys(Keys.ARROW_RIGHT)
    percent = int(find(browser, "#share").get_attribute("value"))
    assert read_kept(browser) == select_forks([entropies], percent / 100)[0][:3000].tolist()
    start = time.monotonic()
    browser.find_elements("css selector", ".answer .more button")[-1].click()
    kept = read_kept(browser)
    assert time.monotonic() - start < 10
    assert sum(kept) == percent * 1000 and not browser.find_elements("css selector", ".answer .more button")
    assert_is_calm(browser)


GAPS = """
const boxes = [...document.querySelectorAll('#scale li')].map((item) => {
  const range = document.createRange();
  range.selectNodeContents(item);
  return range.getBoundingClientRect();
});
return boxes.slice(1).map((box, i) => box.left - boxes[i].right);
"""


@pytest.mark.parametrize("width", [320, 400, 992, 1280])
def test_labels_of_the_legend_do_not_touch(browser, path, width):
    resize(browser, width)
    open_page(browser, path)
    assert min(run(browser, GAPS)) >= 5


@pytest.mark.parametrize("width", [400, 1280])
def test_a_long_prompt_shows_where_it_is_cut_and_comes_whole_on_demand(browser, tmp_path, width):
    records = [make_record(["a"], [1.0], index, 0, prompt="A line.\n" * lines) for index, lines in enumerate((40, 2))]
    write_report(tmp_path / "page.html", records, title="Title", settings={})
    resize(browser, width)
    open_page(browser, tmp_path / "page.html")
    long, short = browser.find_elements("css selector", ".group > .scroll")
    wait_for_class(long, "cut-below")
    button, other = browser.find_elements("css selector", ".group > .more button")
    assert "cut-above" not in long.get_attribute("class")
    assert "linear-gradient" in long.value_of_css_property("mask-image")
    assert "cut" not in short.get_attribute("class") and not other.is_displayed()
    run(browser, "arguments[0].scrollTop = 1e6", long)
    wait_for_class(long, "cut-above")
    assert "cut-below" not in long.get_attribute("class")
    assert button.text == "Show the whole prompt"
    button.click()
    assert run(browser, "return arguments[0].scrollHeight - arguments[0].clientHeight", long) == 0
    assert "cut" not in long.get_attribute("class") and button.text == "Show less of the prompt"
    button.click()
    assert "cut-below" in long.get_attribute("class") and button.text == "Show the whole prompt"
    assert_is_calm(browser)


def wait_for_class(element, name: str) -> None:
    deadline = time.monotonic() + 5
    while name not in element.get_attribute("class"):
        assert time.monotonic() < deadline, element.get_attribute("class")
        time.sleep(0.02)


def test_page_without_answers_opens(browser, tmp_path):
    write_report(tmp_path / "empty.html", [], title="Title", settings={})
    open_page(browser, tmp_path / "empty.html")
    assert find(browser, "#status").text == "No answer matches." and not find(browser, "#share").is_enabled()
    assert_is_calm(browser)


@pytest.mark.parametrize("width", [400, 1280])
def test_the_example_in_the_docs(browser, width):
    """The page of a real model, as it is committed."""
    folder = Path(__file__).parents[2] / "docs" / "analysis" / "smollm2"
    resize(browser, width)
    open_page(browser, folder / "report.html")
    assert run(browser, "return document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    num_tokens = int(re.search(r"of ([\d,]+) tokens", find(browser, "#kept-text").text)[1].replace(",", ""))
    show_all(browser)
    for key, percent in ((None, 20), (Keys.END, 100), (Keys.HOME, 1)):
        find(browser, "#share").send_keys(*([key] if key else []))
        assert len(read_kept(browser)) == num_tokens
        assert sum(read_kept(browser)) == math.ceil(percent * num_tokens / 100)
    find(browser, "#query").send_keys("carpenter works for 2 weeks")
    wait_for(browser, "4 shown of 4 that match, of 64.")
    assert not find(browser, "#verdict-right").is_enabled()  # so small a model got none right
    assert json.loads((folder / "summary.json").read_text())["by_correctness"][0]["group"] == "wrong"
    assert_is_calm(browser, "Forks of SmolLM2-135M-Instruct")
