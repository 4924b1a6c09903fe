"""Trains one step with QLoRA on made-up weights: 4-bit weights from bitsandbytes, adapters, sparse against dense.

python benchmarks/gpu/qlora.py --json qlora.json
"""

import argparse
import json
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from correctness import BOUNDS
from peft import LoraConfig
from transformers import BitsAndBytesConfig, Qwen3ForCausalLM

from helpers.tiny import build_model, build_trainer, compute_gradients, relative_error
from trl_forking.writing.files import write_atomically


def compute_gradient(folder: str, sparse_update: bool, dtype: torch.dtype) -> torch.Tensor:
    """Load a model in 4 bits, train it for one step, and return the gradient of its adapters."""
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    load = {"quantization_config": settings, "dtype": dtype, "attn_implementation": "eager"}
    model = Qwen3ForCausalLM.from_pretrained(folder, **load)
    torch.manual_seed(0)
    adapters = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    trainer = build_trainer(
        tempfile.mkdtemp(),
        model=model,
        trainer_kwargs={"peft_config": adapters},
        sparse_update=sparse_update,
        use_cpu=not torch.cuda.is_available(),
        bf16=dtype == torch.bfloat16,
    )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # TRL rounds the adapters of a quantized model to bfloat16
            parameter.data = parameter.data.to(dtype)
    return compute_gradients(trainer)[0].cpu()


def compare(folder: str) -> dict[str, dict[str, Any]]:
    """Compare sparse and dense in both types. How far the dense gradient is from the one in float32 stands beside it."""
    kinds = [(sparse, dtype) for dtype in (torch.float32, torch.bfloat16) for sparse in (True, False)]
    gradients = {kind: compute_gradient(folder, *kind) for kind in kinds}
    results = {}
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        error = relative_error(gradients[True, dtype], gradients[False, dtype])
        rounding = relative_error(gradients[False, dtype], gradients[False, torch.float32])
        bound = BOUNDS[name]
        results[name] = {"error": error, "bound": bound, "holds": error <= bound, "dense_from_float32": rounding}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    if find_spec("bitsandbytes") is None:
        write_atomically(arguments.json, json.dumps({"left_out": "bitsandbytes is not installed"}))
        print("bitsandbytes is not installed: QLoRA is not tried.")
        return
    with tempfile.TemporaryDirectory() as folder:
        build_model(hidden_size=64, intermediate_size=128, head_dim=32).save_pretrained(folder)
        results = compare(folder)
    write_atomically(arguments.json, json.dumps(results, indent=2))
    print(results)
    if not all(result["holds"] for result in results.values()):
        sys.exit("The sparse update is too far from the dense one.")


if __name__ == "__main__":
    main()
