"""Trains one step with QLoRA on made-up weights: 4-bit weights from bitsandbytes, adapters, sparse against dense.

python benchmarks/gpu/qlora.py --json qlora.json
"""

import argparse
import json
import tempfile
from importlib.util import find_spec
from pathlib import Path

import torch
from peft import LoraConfig
from transformers import BitsAndBytesConfig, Qwen3ForCausalLM

from helpers.tiny import build_model, build_trainer, compute_gradients, relative_error
from trl_forking.writing.files import write_atomically


BOUND = 5e-3  # in bfloat16, see docs/performance.md


def compute_gradient(folder: str, sparse_update: bool) -> torch.Tensor:
    """Load a model in 4 bits, train it for one step, and return the gradient of its adapters."""
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    model = Qwen3ForCausalLM.from_pretrained(folder, quantization_config=settings, attn_implementation="eager")
    torch.manual_seed(0)
    adapters = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    on_gpu = torch.cuda.is_available()
    trainer = build_trainer(
        tempfile.mkdtemp(),
        model=model,
        trainer_kwargs={"peft_config": adapters},
        sparse_update=sparse_update,
        use_cpu=not on_gpu,
        bf16=on_gpu,
    )
    return compute_gradients(trainer)[0].cpu()


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
        error = relative_error(compute_gradient(folder, True), compute_gradient(folder, False))
    result = {"error": error, "bound": BOUND, "holds": error <= BOUND}
    write_atomically(arguments.json, json.dumps(result, indent=2))
    print(result)


if __name__ == "__main__":
    main()
