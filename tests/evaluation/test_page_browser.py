"""The page of `evaluate` in a real browser: filters, verdicts, what the verifier read, hostile texts, and both widths."""

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
)
from helpers.evaluations import make_answer, make_set
from trl_forking.evaluation.page import write_evaluation_page
from trl_forking.evaluation.summary import compare_summaries


pytestmark = [pytest.mark.slow, needs_browser]
ALERT = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
UNBROKEN = "x" * 400
VERDICTS = {
    "right": {},
    "wrong": {"is_right": False, "read": r"\frac{1}{2}", "vote": 1, "completion": r"It is \boxed{\frac{1}{2}}."},
    "unreadable": {"is_right": False, "read": None, "vote": None, "completion": "", "is_truncated": True},
}


def make_answers(num_problems):
    """A right, a wrong and an unreadable answer to each problem."""
    return [
        make_answer(
            problem_index=i, key=str(i), answer_index=j, prompt=f"{'A long example. ' * 60}What is {i}?", **facts
        )
        for i in range(num_problems)
        for j, facts in enumerate(VERDICTS.values())
    ]


def make_sets():
    easy, other = make_set(make_answers(12)), make_set(make_answers(12)[::-1][:9])
    hostile = {"prompt": ALERT, "solution": ALERT, "read": ALERT, "completion": ALERT + UNBROKEN + "\u202e مرحبا"}
    hard = make_set(
        [make_answer(key="a", **hostile), make_answer(key="b", problem_index=1, completion="long " * 900)], ALERT
    )
    difference = compare_summaries(other.summary, easy.summary)
    return [make_set(make_answers(12), baseline=other.summary, difference=difference), hard]


@pytest.fixture(scope="module")
def browser():
    driver = start_browser()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("evaluation") / "report.html"
    write_evaluation_page(path, make_sets(), f"Evaluation {ALERT}")
    return path


@pytest.fixture
def page(browser, path):
    resize(browser, 1280)
    open_page(browser, path)
    yield browser
    assert_is_calm(browser, "Evaluation")


def read_answers(browser):
    """Show all answers that match, and return the words of each: its verdict first, then what the verifier read."""
    show_all(browser)
    script = "return [...document.querySelectorAll('.answer')].map(a => [...a.querySelectorAll('.badges > span')].map(s => s.textContent))"
    return run(browser, script)


def choose(browser, group, value):
    run(browser, "document.getElementById(arguments[0]).click()", f"{group}-{value}")


def read_status(browser):
    return find(browser, "#status").text


def test_every_answer_has_its_verdict_and_what_the_verifier_read(page):
    assert read_status(page) == "20 shown of 38."
    answers = read_answers(page)
    assert len(answers) == 38 and read_status(page) == "38 shown of 38."
    assert answers[0] == ["✓ right", "read: 2", "5 tokens", "vote 1"]
    assert answers[1] == ["✗ wrong", r"read: \frac{1}{2}", "5 tokens", "vote 2"]
    assert answers[2] == ["– nothing to read", "no final answer found", "5 tokens", "cut off by the length limit"]
    assert answers[36][1] == f"read: {ALERT}"
    text = find(page, "#answers").text
    assert "Right answer: 2" in text and "1 of 3 answers right" in text and "no text" in text


def test_the_filters(page):
    for verdict, word, number in (
        ("right", "✓ right", 14),
        ("wrong", "✗ wrong", 12),
        ("unreadable", "– nothing to read", 12),
    ):
        choose(page, "verdict", verdict)
        found = read_answers(page)
        assert len(found) == number and {answer[0] for answer in found} == {word}
        assert read_status(page) == f"{number} shown of {number} that match, of 38."
    choose(page, "verdict", "truncated")
    assert {answer[-1] for answer in read_answers(page)} == {"cut off by the length limit"}
    choose(page, "set", "1")
    assert read_status(page) == "No answer matches."
    choose(page, "verdict", "all")
    assert len(read_answers(page)) == 2


def test_the_search_finds_prompts_answers_and_what_was_read(page):
    from selenium.webdriver.support.ui import WebDriverWait

    query = find(page, "#query")
    wait = WebDriverWait(page, 5)
    for text, number in ((r"\frac{1}{2}", 12), ("what is 11?", 3), ("it is 2", 12), ("nowhere", 0)):
        query.clear()
        query.send_keys(text)
        said = f"{number} shown of {number} that match, of 38." if number else "No answer matches."
        wait.until(lambda page: read_answers(page) is not None and read_status(page) == said)  # noqa: B023
    query.clear()
    query.send_keys("it is 2")
    wait.until(lambda page: run(page, "return document.querySelector('mark')?.textContent") == "It is 2")


def test_the_question_of_a_long_prompt_is_in_sight(page):
    script = "const box = document.querySelector('.group .scroll'); return [box.scrollHeight > box.clientHeight, Math.round(box.scrollTop + box.clientHeight) >= box.scrollHeight - 1]"
    assert run(page, script) == [True, True]
    box, button = find(page, ".group .scroll"), find(page, ".group > .more button")
    assert "cut-above" in box.get_attribute("class") and button.text == "Show the whole prompt"
    run(page, "arguments[0].click()", button)
    assert run(page, "return arguments[0].scrollHeight - arguments[0].clientHeight", box) == 0


def test_a_long_answer_is_shown_whole_on_demand(page):
    choose(page, "set", "1")
    button = find(page, ".answer button")
    assert button.text == "Show all 4,500 characters"
    run(page, "arguments[0].click()", button)
    assert run(page, "return [...document.querySelectorAll('.tokens')].at(-1).textContent.length") == 4500


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_wider_than_the_window(page, width):
    resize(page, width)
    read_answers(page)
    assert run(page, "return document.documentElement.scrollWidth") <= width
    script = (
        "return [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && "
        "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert run(page, script) == []


def test_figures_and_settings(page):
    tables = [table.text for table in page.find_elements("css selector", "#tables table")]
    assert len(tables) == 3 and "avg@3" in tables[0] and "Change" in tables[0] and "pass@k" in tables[1]
    lead = find(page, "#lead").text
    assert "avg@3 is 33.3 %" in lead and "not distinguishable from noise" in lead
    settings = find(page, "#settings-list").text
    assert "temperature" in settings and "max_completion_length" in settings


def test_the_theme_can_be_changed(page):
    dark = "return getComputedStyle(document.body).backgroundColor"
    before = run(page, dark)
    find(page, "#theme").click()
    assert run(page, dark) != before
