# /// script
# requires-python = ">=3.11"
# dependencies = ["trl-forking", "ipykernel", "nbclient"]
# ///
"""
Run a notebook, and keep its outputs in it: without warnings, times and whatever else changes from run to run.

    python examples/notebooks/run_notebook.py examples/notebooks/forks.ipynb
"""

import argparse
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient


def run_notebook(path: Path, folder: Path, parameters: dict[str, Any] | None = None) -> Any:
    """
    Run a notebook in a folder, and return it with its outputs.

    `parameters` are set behind the cell that is tagged `parameters`, as papermill does.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = "\n".join(
                [cell.source, *(f"{name} = {value!r}" for name, value in (parameters or {}).items())]
            )
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def tidy(notebook: Any) -> None:
    """Leave out what other libraries warn of, and when each cell ran; note which sources the outputs belong to."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["outputs_of"] = compute_fingerprint(notebook)


def compute_fingerprint(notebook: Any) -> str:
    """Compute a fingerprint of the sources of the code cells."""
    sources = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(sources.encode()).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a notebook and keep its outputs in it.")
    parser.add_argument("notebook", type=Path, help="the .ipynb file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        notebook = run_notebook(args.notebook, Path(folder))
    tidy(notebook)
    nbformat.write(notebook, args.notebook)
    print(f"{args.notebook}: {args.notebook.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
