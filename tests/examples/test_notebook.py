"""The notebook runs from start to end; its committed outputs are small and belong to the code that is there."""

import os
import re
import runpy
from pathlib import Path

import pytest


pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NOTEBOOK = FOLDER / "forks.ipynb"
RUN = runpy.run_path(str(FOLDER / "run_notebook.py"))


@pytest.fixture(scope="module")
def committed():
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return notebook


def read_outputs(notebook) -> dict[str, str]:
    """Read what each code cell shows as text."""
    return {
        cell.id: "\n".join(output.get("text") or output.data["text/plain"] for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def test_committed_outputs_are_small_and_belong_to_the_code(committed):
    assert NOTEBOOK.stat().st_size < 300_000
    assert committed.metadata["outputs_of"] == RUN["compute_fingerprint"](committed), "run `make notebook`"
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert outputs and all(output.output_type != "error" and output.get("name") != "stderr" for output in outputs)
    assert not re.search(r"/(home|root|tmp|Users)/", NOTEBOOK.read_text())


def test_committed_run_fits_into_five_minutes_on_two_cores(committed):
    seconds = int(re.fullmatch(r"(\d+) seconds of CPU time\s*", read_outputs(committed)["time"]).group(1))
    assert seconds < 300


def test_notebook_says_what_so_few_steps_show(committed):
    texts = " ".join(cell.source for cell in committed.cells if cell.cell_type == "markdown")
    assert "one seed" in texts and "not distinguishable from noise" in texts and "compare-runs" in texts


def test_a_change_of_the_code_makes_the_outputs_old(committed):
    changed = committed.copy()
    changed.cells = [cell.copy() for cell in committed.cells]
    next(cell for cell in changed.cells if cell.cell_type == "code").source += "\npass"
    assert RUN["compute_fingerprint"](changed) != committed.metadata["outputs_of"]


@pytest.mark.slow
def test_notebook_runs(tmp_path, monkeypatch):
    """With one step and few problems; the kernel is a process of its own, as in Jupyter."""
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]), prepend=os.pathsep)
    notebook = RUN["run_notebook"](NOTEBOOK, tmp_path, {"NUM_STEPS": 1, "NUM_PROBLEMS": 16, "NUM_ANALYZED": 4})
    RUN["tidy"](notebook)
    outputs = read_outputs(notebook)
    assert "of 16 held-out problems" in outputs["model"] and "forking/threshold" in outputs["table"]
    assert re.search(r"precision 0\.\d+, recall 0\.\d+|precision 1", outputs["count"])
    assert outputs["difference"].count("95 % interval") == 2
    assert (tmp_path / "runs" / "notebook" / "forks.html").is_file()
    assert notebook.metadata["outputs_of"] and not any(cell.metadata.get("execution") for cell in notebook.cells)
