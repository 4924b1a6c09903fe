"""Times updates at the full size of Qwen3 on one GPU, against TRL's mask and against TRL without a mask in the same run.

python benchmarks/gpu/update.py --json update.json
python benchmarks/gpu/update.py --json update.json --tiny  # the same cases, small enough for a CPU
"""

import argparse
import dataclasses
import gc
import json
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers


sys.path.insert(0, str(Path(__file__).parents[1]))

from update_step import COLUMNS, FORK_KINDS, KINDS, Case, build_row, measure

from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table


LONG = Case(shape="Qwen3-0.6B", completion_length=8192, num_answers=32, micro_batch=4, gradient_checkpointing=True)
MEDIUM = dataclasses.replace(LONG, completion_length=4096, gradient_checkpointing=False)
ADAPTERS = {
    "shape": "Qwen3-8B",
    "completion_length": 2048,
    "micro_batch": 8,
    "gradient_checkpointing": True,
    "lora": True,
}
TWO = ("TRL's mask", "forking")
# The most important cases first: a run that is cut off has them. TRL without a mask takes as long as with one.
CASES: list[tuple[Case, tuple[str, ...]]] = [
    (LONG, KINDS),
    (dataclasses.replace(MEDIUM, **ADAPTERS), TWO),
    (MEDIUM, (*TWO, *FORK_KINDS)),
    (dataclasses.replace(LONG, num_answers=16, rho=1.0), TWO),
    (dataclasses.replace(LONG, num_answers=16, zero_variance_share=0.5), TWO),
    (dataclasses.replace(MEDIUM, token_selection="random_prefix", rho=0.5), TWO),
    (dataclasses.replace(MEDIUM, gradient_checkpointing=True), TWO),
    (dataclasses.replace(LONG, gradient_checkpointing=False), TWO),
    (dataclasses.replace(MEDIUM, zero_variance_share=0.5), TWO),
]


def shrink(case: Case) -> Case:
    """Make a case small enough for a CPU."""
    return dataclasses.replace(case, completion_length=48, num_answers=8, micro_batch=min(case.micro_batch, 4))


def free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def run(case: Case, kinds: Sequence[str], repeats: int, tiny: bool) -> dict[str, Any]:
    """Measure a case. An error becomes its result, so that the other cases run. Without memory, try a smaller micro-batch."""
    start = time.perf_counter()
    try:
        result = {"result": measure(case, repeats, scale_down=tiny, kinds=kinds)}
        ours = result["result"]["forking"]
        ours["share_of_matrix_rate"] = ours["floor"] / ours["update"]
    except torch.OutOfMemoryError:
        if case.micro_batch > 1:
            free_memory()
            return run(dataclasses.replace(case, micro_batch=case.micro_batch // 2), kinds, repeats, tiny)
        result = {"traceback": traceback.format_exc(limit=-4)}
    except Exception:
        result = {"traceback": traceback.format_exc(limit=-4)}
    free_memory()
    return {"case": dataclasses.asdict(case), "seconds": time.perf_counter() - start, **result}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no case after this time")
    parser.add_argument("--cases", type=int, nargs="+", help="cases by number, from 0 (default: all)")
    parser.add_argument("--tiny", action="store_true", help="small cases, in float32, for a trial on a CPU")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    results: list[dict[str, Any]] = []
    start = time.perf_counter()
    for case, kinds in CASES if arguments.cases is None else [CASES[index] for index in arguments.cases]:
        if time.perf_counter() - start > arguments.seconds:
            print(f"no time for {case}", flush=True)
            continue
        results.append(run(shrink(case) if arguments.tiny else case, kinds, arguments.repeats, arguments.tiny))
        print(results[-1].get("traceback") or json.dumps(results[-1]), flush=True)
        write_atomically(arguments.json, json.dumps({"repeats": arguments.repeats, "results": results}, indent=2))
    rows = [build_row(Case(**entry["case"]), entry["result"]) for entry in results if "result" in entry]
    print(format_table(COLUMNS, rows))
    if len(rows) < len(results):
        sys.exit(f"{len(results) - len(rows)} of {len(results)} cases failed: see above.")


if __name__ == "__main__":
    main()
