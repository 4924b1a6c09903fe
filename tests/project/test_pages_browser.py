"""How the pages look: the README takes two screens; the site breaks no name in a table, and cuts off no command."""

from pathlib import Path

import pytest
from markdown_it import MarkdownIt  # rich brings it

from helpers.browser import find, needs_browser, open_page, resize, run, start_browser


pytestmark = [needs_browser, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
# A screen of 2,560 x 1,440 pixels, and the column that GitHub shows a README in, with its sizes of fonts and its gaps.
SCREEN, COLUMN = 1440, 838
GITHUB = f"""
body {{ margin: 0 auto; width: {COLUMN}px; font: 16px/1.5 "Segoe UI", "DejaVu Sans Condensed", Arial, sans-serif }}
h1, h2 {{ font-size: 1.5em; line-height: 1.25; margin: 24px 0 16px; padding-bottom: .3em; border-bottom: 1px solid }}
h1 {{ font-size: 2em; margin-top: 0 }} p, pre, table, ul {{ margin: 0 0 16px }} img {{ max-width: 100% }}
pre {{ font: 85%/1.45 monospace; padding: 16px; overflow: auto }} code {{ font: 85% monospace }} pre code {{ font: inherit }}
table {{ border-collapse: collapse; display: block; overflow: auto }} td, th {{ border: 1px solid; padding: 6px 13px }}
"""


@pytest.fixture(scope="module")
def browser():
    browser = start_browser()
    yield browser
    browser.quit()


def measure_readme(browser, text: str, folder: Path) -> int:
    """Return the height of a README in pixels, with its pictures."""
    body = MarkdownIt("commonmark").enable("table").render(text)
    page = folder / "page.html"
    page.write_text(
        f"<meta charset=utf-8><base href='{ROOT.as_uri()}/'><style>{GITHUB}</style>{body}", encoding="utf-8"
    )
    resize(browser, 1280)
    open_page(browser, page)
    assert run(browser, "return [...document.images].every(image => image.naturalWidth > 0)")
    return run(browser, "return Math.round(document.body.getBoundingClientRect().height)")


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_readme_takes_at_most_two_screens(browser, name, tmp_path):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert measure_readme(browser, text, tmp_path) <= 2 * SCREEN
    assert measure_readme(browser, text + "\n## More\n\nA line.\n" * 9, tmp_path) > 2 * SCREEN


def test_no_name_in_a_table_of_the_site_is_broken_and_no_command_is_cut_off(browser, tmp_path):
    """At 400 pixels a name in a narrow column stays whole; a long name in a sentence may break, and so does a command."""
    style = (ROOT / "docs" / "site" / "static" / "site.css").read_text()
    name = "problems.parquet.zst"
    row = f"<tr><td><p><code class='literal'>{name}</code></p></td><td><p>{'some words ' * 20}</p></td></tr>"
    page = tmp_path / "page.html"
    sentence = f"<p id='sentence'><code class='literal'>{'long_name.' * 20}</code></p>"
    command = f"<div class='highlight-bash'><pre>trl-forking grpo {'--flag value ' * 20}</pre></div>"
    page.write_text(f"<style>{style}</style><div style='width: 180px'><table>{row}</table>{sentence}{command}</div>")
    resize(browser, 400)
    open_page(browser, page)
    assert len(run(browser, "return [...arguments[0].getClientRects()]", find(browser, "td code"))) == 1
    for selector in ("#sentence", "pre"):
        assert run(browser, "return arguments[0].scrollWidth", find(browser, selector)) <= 180
