"""Refuses a tag that is not the version of the package: `python .github/check_tag.py v0.1.0`."""

import ast
import sys
from pathlib import Path


def read_version() -> str:
    """Read `__version__`, the only place of the version, without an import: nothing is installed yet."""
    source = (Path(__file__).parents[1] / "trl_forking" / "__init__.py").read_text("utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return str(ast.literal_eval(node.value))
    raise SystemExit("trl_forking/__init__.py has no __version__.")


if __name__ == "__main__":
    tag, version = sys.argv[1], read_version()
    if tag != f"v{version}":
        raise SystemExit(
            f"The tag {tag} is not v{version}: change __version__ in trl_forking/__init__.py, or the tag."
        )
    print(f"{tag} is the version of the package.")
