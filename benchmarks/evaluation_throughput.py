"""Answers drawn in rounds of equally long answers, against a plain loop over `model.generate`, in the same run.

The plain loop pads every batch to its longest answer. The model is real but random; its end token is as probable as in a
log-normal distribution of lengths, which is how long answers of reasoning models are spread. Both ways draw from the same
distribution, with the same batch size, and the script reports the tokens of the answers per second. It takes about two minutes
on one core that is free.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/evaluation_throughput.py --json evaluation_throughput.json
"""

import argparse
import json
import math
import platform
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from trl_forking.decoding.sampling import SamplingSettings, TransformersSampler
from trl_forking.evaluation.length_ordered import LengthOrderedSampler


END, PROMPT_LENGTH, VOCABULARY = 0, 32, 2000


class SpreadLengths(LlamaForCausalLM):
    """Ends an answer of `t` tokens with the hazard of a log-normal distribution of lengths."""

    median, sigma = 80.0, 0.7

    def forward(self, *args: Any, position_ids: torch.Tensor | None = None, **kwargs: Any) -> Any:
        outputs = super().forward(*args, position_ids=position_ids, **kwargs)
        assert position_ids is not None
        lengths = (position_ids[:, -1] - PROMPT_LENGTH + 2).clamp(min=1).double()
        normal = torch.distributions.Normal(0.0, 1.0)
        before, after = (
            normal.cdf((torch.log(value) - math.log(self.median)) / self.sigma)
            for value in (lengths.clamp(min=1.5) - 0.5, lengths + 0.5)
        )
        hazard = ((after - before) / (1 - before).clamp(min=1e-12)).clamp(1e-6, 0.5).to(outputs.logits.dtype)
        last = outputs.logits[:, -1]
        last[:, END] = torch.logsumexp(last[:, 1:], -1) + torch.log(hazard / (1 - hazard))
        return outputs


def build_model(hidden_size: int, num_layers: int, median: float, sigma: float) -> SpreadLengths:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=hidden_size // 32,
        max_position_embeddings=4096,
        eos_token_id=END,
        pad_token_id=END,
        bos_token_id=None,
    )
    model = SpreadLengths(config).eval()
    model.median, model.sigma = median, sigma
    return model.to("cuda", torch.bfloat16) if torch.cuda.is_available() else model


def measure(draw: Any) -> dict[str, float]:
    begin, cpu_begin = time.perf_counter(), time.process_time()
    lengths = [len(answer) for group in draw() for answer in group]
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu_begin
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "tokens_per_second": sum(lengths) / seconds,
        "tokens_per_cpu_second": sum(lengths) / cpu_seconds,
        "mean_length": statistics.mean(lengths),
        "longest": max(lengths),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_problems", type=int, default=6)
    parser.add_argument("--num_generations", type=int, default=16)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--max_completion_length", type=int, default=512)
    parser.add_argument("--hidden_size", type=int, default=256)
    parser.add_argument("--num_layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--median_length", type=float, default=80.0)
    parser.add_argument("--sigma", type=float, default=0.7, help="spread of the logarithm of the lengths")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model, tokenizer = (
        build_model(args.hidden_size, args.num_layers, args.median_length, args.sigma),
        SimpleNamespace(eos_token_id=END, pad_token_id=END),
    )
    settings = SamplingSettings(args.num_generations, args.max_completion_length)
    plain, rounds = (
        TransformersSampler(model, tokenizer, settings),
        LengthOrderedSampler(model, tokenizer, settings, args.batch_size),
    )
    prompts = torch.randint(1, VOCABULARY, (args.num_problems, PROMPT_LENGTH)).tolist()
    per_batch = max(1, args.batch_size // args.num_generations)
    plain.sample(prompts[:1], 0)  # warm-up
    results: dict[str, list[dict[str, float]]] = {"plain": [], "rounds": []}
    for seed in range(1, args.repeats + 1):  # alternating, so that a busy machine slows both down
        results["plain"].append(measure(lambda: plain.sample(prompts, seed, per_batch)))  # noqa: B023
        results["rounds"].append(measure(lambda: rounds.sample(prompts, seed)))  # noqa: B023
        for name, runs in results.items():
            print(f"{name:7s}", " ".join(f"{key} {value:,.1f}" for key, value in runs[-1].items()), flush=True)
    gains = {
        unit: [after[unit] / before[unit] for before, after in zip(results["plain"], results["rounds"], strict=True)]
        for unit in ("tokens_per_second", "tokens_per_cpu_second")
    }
    for unit, values in gains.items():  # other programs on the machine change the first more than the second
        print(
            f"{unit}: rounds are {statistics.median(values):.2f} times as fast ({min(values):.2f} to {max(values):.2f})"
        )
    if args.json:
        settings_used = {name: value for name, value in vars(args).items() if name != "json"}
        machine = {"torch": torch.__version__, "machine": platform.machine(), "threads": torch.get_num_threads()}
        args.json.write_text(
            json.dumps({"settings": settings_used, "machine": machine, "runs": results, "gains": gains}, indent=2)
            + "\n"
        )


if __name__ == "__main__":
    main()
