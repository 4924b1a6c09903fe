"""Settings of the docs site, which `make docs` builds from the Markdown pages in `docs/` and the docstrings."""

import sys
from pathlib import Path


HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import trl_forking  # noqa: E402


project = "trl-forking"
copyright = "The trl-forking contributors"
version = release = trl_forking.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "extension"]
exclude_patterns = ["site/**", "cards/*/**", "analysis/**"]  # example cards are pages of the Hub
root_doc = "index"
highlight_language = "text"
smartquotes = False  # a message or a flag is searched and copied as it is: `--force`, not `–force`

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # the same anchors as on GitHub

# A docstring says the types of arguments, with shapes.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
add_module_names = False

html_theme = "furo"
html_title = "trl-forking"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "source_repository": "https://github.com/trl-forking/trl-forking/",
    "source_branch": "main",
    "source_directory": "docs/",
}
