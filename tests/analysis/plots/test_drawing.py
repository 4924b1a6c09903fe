"""All plots: the files that they become, and what is drawn of next to nothing."""

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from helpers.plotted import ENTROPIES, ROWS, make_comparison
from trl_forking.analysis import plots
from trl_forking.analysis.comparison import build_comparison
from trl_forking.analysis.plots import (
    NothingToDraw,
    plot_change_by_bin,
    plot_cumulative_share,
    plot_entropy_histogram,
    plot_fork_words,
    plot_overlap,
    plot_percentile_traces,
    render_svg,
    save_figure,
)
from trl_forking.writing.colors import VARIABLES


def draw_all() -> dict[str, Figure]:
    comparison = make_comparison()
    return {
        "histogram": plot_entropy_histogram(ENTROPIES),
        "share": plot_cumulative_share(ENTROPIES),
        "words": plot_fork_words(ROWS, min_count=101),
        "traces": plot_percentile_traces(comparison["percentiles"]),
        "overlap": plot_overlap(comparison["overlap"]),
        "change": plot_change_by_bin(comparison["change_by_bin"], list(comparison["change_by_bin"][0])[-1]),
    }


FIGURES = draw_all()


@pytest.mark.parametrize("name", FIGURES)
def test_figures_become_png_and_svg(name, tmp_path):
    save_figure(FIGURES[name], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    svg = render_svg(FIGURES[name], 'Label with <b>, & and "quotes"')
    root = ElementTree.fromstring(svg)
    assert len(svg.encode()) < 150_000
    assert root.get("role") == "img" and root.get("aria-label") == 'Label with <b>, & and "quotes"'
    assert root.get("width") is None and root.get("viewBox") == "0 0 403.2 244.8"
    assert not re.search(r"\bnan\b|\binf\b", svg, re.IGNORECASE)


@pytest.mark.parametrize("name", FIGURES)
def test_colors_of_an_svg_are_variables_and_nothing_in_it_is_active(name):
    svg = render_svg(FIGURES[name], "label")
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        assert tag in {"svg", "style", "g", "path", "defs", "use", "text", "tspan", "clipPath", "rect"}, tag
        for key, value in element.items():
            assert not key.startswith("on")
            assert key != "href" or value.startswith("#plot-")
            if key == "style":
                outside = re.sub(r"light-dark\([^)]*\)", "", value)
                assert "DejaVu" not in value and not re.search("#[0-9a-f]{6}", outside), value
    # Matplotlib's own rule for everything would reach the page around it.
    assert [style.text for style in root.findall(".//{*}style")] == ["svg:root { color-scheme: light dark }"]
    assert "var(--plot-ink" in svg and "<!--" not in svg


def test_ids_of_several_pictures_do_not_clash_and_every_reference_resolves():
    seen = set()
    for name, figure in FIGURES.items():
        svg = render_svg(figure, name)
        ids = re.findall(r' id="([^"]+)"', svg)
        assert len(ids) == len(set(ids)) and not seen & set(ids)
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(ids)
        seen |= set(ids)


def test_pictures_are_the_same_each_time(tmp_path):
    files = []
    for _ in range(2):
        for figure in (plot_entropy_histogram(ENTROPIES), plot_fork_words(ROWS, min_count=101)):
            save_figure(figure, tmp_path / "figure.png")
            files.append(((tmp_path / "figure.png").read_bytes(), render_svg(figure, "label")))
    assert files[:2] == files[2:]


def test_every_color_has_a_counterpart_with_contrast_for_text():
    def luminance(color: str) -> float:
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for light, (name, dark) in VARIABLES.items():
        if name in ("ink", "muted", "fork", "accent"):  # the others are lines and bars
            assert 1.05 / (luminance(light) + 0.05) >= 4.5, name
            assert (luminance(dark) + 0.05) / (luminance("#1a1a1e") + 0.05) >= 4.5, name


@pytest.mark.parametrize(
    "entropies", [np.zeros(0), np.array([0.3]), np.zeros(50), np.full(50, 0.5), np.array([0.0, 1e-7]), ENTROPIES[:2]]
)
def test_pictures_of_next_to_nothing(entropies):
    comparison = build_comparison([entropies], {"last": [entropies]})
    plots = {
        "histogram": lambda: plot_entropy_histogram(entropies),
        "share": lambda: plot_cumulative_share(entropies),
        "percentiles": lambda: plot_percentile_traces(comparison["percentiles"]),
        "overlap": lambda: plot_overlap(comparison["overlap"]),
        "change": lambda: plot_change_by_bin(comparison["change_by_bin"], "last"),
    }
    for name, plot in plots.items():
        if len(entropies) == 0 or (name == "share" and not entropies.any()):
            with pytest.raises(NothingToDraw, match="^There is no .*: (the answers have no tokens|no token has)"):
                plot()
        else:
            svg = render_svg(plot(), "label")
            assert not re.search(r"\bnan\b|\binf\b", svg, re.IGNORECASE)


def test_a_hundred_thousand_tokens_make_a_small_picture():
    entropies = np.random.default_rng(1).gamma(0.5, 0.8, 100_000)
    assert (
        max(len(render_svg(plot(entropies), "l")) for plot in (plot_entropy_histogram, plot_cumulative_share)) < 80_000
    )


@pytest.mark.parametrize("path", sorted(Path(plots.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_optional_packages_are_imported_inside_functions(path):
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top for alias in node.names} | {getattr(node, "module", None) for node in top}
    assert not {name for name in names if name and name.split(".")[0] in ("matplotlib", "PIL")}
