"""Checks in seconds, before anything is measured, that all packages are there and fit each other.

python benchmarks/gpu/check_imports.py --json environment.json
"""

import argparse
import importlib
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

from trl_forking.writing.files import write_atomically


NEEDED = (
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "peft",
    "trl",
    "math_verify",
    "rich",
    "pytest",
    "trl_forking",
)
OPTIONAL = ("bitsandbytes", "flash_attn", "triton", "vllm", "deepspeed")


def find_version(module: str) -> str | None:
    """Import a module and find the version of its package; `None` if it isn't there."""
    try:
        imported = importlib.import_module(module)
    except ImportError:
        return None
    names = importlib.metadata.packages_distributions().get(module)
    return importlib.metadata.version(names[0]) if names else getattr(imported, "__version__", "unknown")


def describe_device() -> dict[str, object]:
    """Describe the first GPU, or say that there is none."""
    import torch

    if not torch.cuda.is_available():
        return {"device": "CPU", "threads": torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(0)
    return {"device": properties.name, "memory_bytes": properties.total_memory, "cuda": torch.version.cuda}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    versions = {module: find_version(module) for module in (*NEEDED, *OPTIONAL)}
    missing = [module for module in NEEDED if versions[module] is None]
    if missing:
        sys.exit(f"These modules cannot be imported: {', '.join(missing)}. `make gpu-bundle` collects their wheels.")
    from trl_forking import ForkingGRPOTrainer  # the whole trainer, with all that it imports

    content = {"python": platform.python_version(), "trainer": ForkingGRPOTrainer.__name__, **describe_device()}
    write_atomically(arguments.json, json.dumps({**content, "versions": versions}, indent=2))
    print(json.dumps({**content, "versions": versions}))


if __name__ == "__main__":
    main()
