"""What the sparse update saves: an update with this trainer, with TRL's own mask and with TRL without a mask.

The three trainers take turns in one process, on the same fixed answers, so that a change of the machine's speed affects all
of them. An update is forward and backward: the rollouts come from a table, and the optimizer does not run. The weights are
random. The shapes keep the proportions of Qwen3-0.6B and Qwen3-8B: on a CPU layers, hidden size and vocabulary are divided
by the same factor, and on a GPU they have full size, in bfloat16. The scoring pass that computes the entropies is timed
separately.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/update_step.py --json update_step.json
"""

import argparse
import json
import platform
import statistics
import tempfile
import threading
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.writing.colors import ACCENT, MUTED, OTHER
from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table


NUM_GENERATIONS = 4
PROMPT_LENGTH = 16
# layers, hidden, intermediate, heads, key-value heads, vocabulary, tied embeddings; then the divisor on a CPU.
SHAPES = {
    "Qwen3-0.6B": (28, 1024, 3072, 16, 8, 151_936, True, 4),
    "Qwen3-8B": (36, 4096, 12_288, 32, 8, 151_936, False, 16),
    # When all sizes are divided by one factor, the head takes 59 % of the weights instead of 26 %. Here the vocabulary is
    # divided by the square of the factor, which keeps the parts of the full size.
    "Qwen3-0.6B, equal shares": (28, 1024, 3072, 16, 8, 151_936 // 4, True, 4),
    "LM head of Qwen3-0.6B": (1, 1024, 64, 2, 1, 151_936, True, 1),  # at full size, with next to no backbone
}


@dataclass(frozen=True)
class Case:
    """What varies: the share kept, the share of zero-variance groups, the tokens of an answer."""

    shape: str = "Qwen3-0.6B"
    rho: float = 0.2
    zero_variance_share: float = 0.0
    completion_length: int = 256
    num_answers: int = 16


def build_config(shape: str, scale_down: bool) -> Qwen3Config:
    layers, hidden, intermediate, heads, kv_heads, vocabulary, tied, divisor = SHAPES[shape]
    divisor = divisor if scale_down else 1
    return Qwen3Config(
        vocab_size=vocabulary // divisor,
        hidden_size=hidden // divisor,
        intermediate_size=intermediate // divisor,
        num_hidden_layers=max(1, round(layers / divisor)),
        num_attention_heads=max(1, heads // divisor),
        num_key_value_heads=max(1, kv_heads // divisor),
        head_dim=128 if not scale_down else 64,
        tie_word_embeddings=tied,
        max_position_embeddings=8192,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )


def build_tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<unk>")), pad_token="<pad>", eos_token="<eos>"
    )


class FixedAnswers:
    """A `rollout_func` and a reward. The random answers have half to full length and are the same for every trainer."""

    def __init__(self, case: Case, vocabulary: int):
        generator = torch.Generator().manual_seed(0)
        lengths = torch.randint(
            case.completion_length // 2, case.completion_length, (case.num_answers,), generator=generator
        )
        lengths[0] = case.completion_length
        self.answers = [torch.randint(3, vocabulary, (n,), generator=generator).tolist() for n in lengths.tolist()]
        self.prompt = torch.randint(3, vocabulary, (PROMPT_LENGTH,), generator=generator).tolist()
        self.num_zero_variance = round(case.zero_variance_share * case.num_answers / NUM_GENERATIONS) * NUM_GENERATIONS

    def roll_out(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        return {"prompt_ids": [self.prompt] * len(prompts), "completion_ids": self.answers, "logprobs": None}

    def reward(self, completions: list, **kwargs: Any) -> list[float]:
        return [1.0 if index < self.num_zero_variance else float(index % 2) for index in range(len(completions))]


def build_trainer(kind: str, case: Case, model: Qwen3ForCausalLM, micro_batch: int) -> Any:
    answers = FixedAnswers(case, model.config.vocab_size)
    settings: dict[str, Any] = {"top_entropy_quantile": 1.0 if kind == "TRL, no mask" else case.rho}
    trainer_class, config_class = (
        (ForkingGRPOTrainer, ForkingGRPOConfig) if kind.startswith("forking") else (GRPOTrainer, GRPOConfig)
    )
    trainer = trainer_class(
        model=model,
        reward_funcs=answers.reward,
        args=config_class(
            tempfile.mkdtemp(),
            max_steps=1,
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=case.num_answers // micro_batch,
            num_generations=NUM_GENERATIONS,
            max_completion_length=case.completion_length,
            loss_type="dapo",
            epsilon_high=0.28,
            use_cpu=not torch.cuda.is_available(),
            bf16=torch.cuda.is_available(),
            gradient_checkpointing=torch.cuda.is_available(),
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **settings,
        ),
        train_dataset=Dataset.from_dict({"prompt": ["?"] * case.num_answers}),
        processing_class=build_tokenizer(),
        rollout_func=answers.roll_out,
    )
    trainer.current_gradient_accumulation_steps = case.num_answers // micro_batch
    return trainer


def synchronize() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class ScoringClock:
    """Adds up the seconds of the scoring passes of a trainer."""

    def __init__(self, trainer: Any):
        self.seconds, self._score = 0.0, trainer.score_rollout
        trainer.score_rollout = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = synchronize()
        entropies = self._score(*args, **kwargs)
        self.seconds += synchronize() - start
        return entropies


class PeakMemory:
    """The peak memory of a block beyond what was in use before: allocated memory on a GPU, else resident memory."""

    def __enter__(self) -> "PeakMemory":
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self.base = torch.cuda.memory_allocated()
            return self
        self.process, self.running = psutil.Process(), True
        self.base = self.peak = self.process.memory_info().rss
        self.thread = threading.Thread(target=self._sample)
        self.thread.start()
        return self

    def _sample(self) -> None:
        while self.running:
            self.peak = max(self.peak, self.process.memory_info().rss)
            time.sleep(0.002)

    def __exit__(self, *_: Any) -> None:
        if torch.cuda.is_available():
            self.peak = torch.cuda.max_memory_allocated()
            return
        self.running = False
        self.thread.join()

    @property
    def bytes(self) -> int:
        return self.peak - self.base


def run_update(trainer: Any, case: Case) -> dict[str, float]:
    """Make one rollout batch and update on it. Return seconds of scoring pass and update, and the peak memory in bytes."""
    clock = ScoringClock(trainer) if isinstance(trainer, ForkingGRPOTrainer) else None
    trainer.model.train()
    trainer.model.zero_grad(set_to_none=True)
    trainer._step, trainer._buffered_inputs = 0, None
    rows = list(trainer.train_dataset.select(range(case.num_answers)))
    first = trainer._prepare_inputs(rows)  # scores the batch, splits it and returns the first micro-batch
    with PeakMemory() as memory:
        start = synchronize()
        for step in range(trainer.args.gradient_accumulation_steps):
            trainer._step = step
            inputs = first if step == 0 else trainer._prepare_inputs(rows)
            trainer.accelerator.backward(trainer.compute_loss(trainer.model, inputs))
        seconds = synchronize() - start
    if clock:
        trainer.score_rollout = clock._score
    return {"scoring": clock.seconds if clock else 0.0, "update": seconds, "peak_bytes": memory.bytes}


def measure_rate(device: str, dtype: torch.dtype) -> float:
    """Measure the operations per second of a large matrix product, which is the best that the machine can do."""
    left, right = (torch.randn(2048, 2048, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(10):
        start = synchronize()
        left @ right
        seconds.append(synchronize() - start)
    return 2 * 2048**3 / statistics.median(seconds[3:])


def compute_floor(case: Case, model: Qwen3ForCausalLM, rate: float) -> float:
    """Compute the seconds that an update takes at least: 6 operations for each weight and each token that meets it.

    Every token of the informative groups, prompts included, meets the weights of the backbone. Only kept tokens meet the head.
    """
    rollout = FixedAnswers(case, model.config.vocab_size)
    lengths = [len(ids) for ids in rollout.answers[rollout.num_zero_variance :]]
    backbone = sum(p.numel() for name, p in model.named_parameters() if "layers." in name)
    head = model.get_output_embeddings().weight.numel()
    return 6 * (backbone * (sum(lengths) + PROMPT_LENGTH * len(lengths)) + head * case.rho * sum(lengths)) / rate


KINDS = ("TRL, no mask", "TRL's mask", "forking")


def measure(case: Case, repeats: int, scale_down: bool, micro_batch: int) -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    dtype = torch.float32 if scale_down else torch.bfloat16
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = Qwen3ForCausalLM(build_config(case.shape, scale_down)).to(dtype).to(device)
    with torch.no_grad():  # larger logits, so that entropies differ
        model.get_output_embeddings().weight.mul_(4.0)
    plain_forward = model.forward
    records: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    trainers = {}
    for kind in KINDS:
        model.forward = plain_forward  # each trainer replaces it with its own fused head
        trainers[kind] = (build_trainer(kind, case, model, micro_batch), model.forward)
    for repeat in range(repeats + 1):
        for kind, (trainer, forward) in trainers.items():
            model.forward = forward
            record = run_update(trainer, case)
            if repeat:  # the first round is a warm-up
                records[kind].append(record)
    keys = ("scoring", "update", "peak_bytes")
    medians = {kind: {key: statistics.median(r[key] for r in rs) for key in keys} for kind, rs in records.items()}
    medians["forking"]["floor"] = compute_floor(case, model, measure_rate(device, dtype))
    return medians


CASES = (
    [Case(rho=rho) for rho in (0.1, 0.2, 0.5, 1.0)]
    + [Case(zero_variance_share=share) for share in (0.25, 0.5)]
    + [Case(completion_length=1024, num_answers=8), Case(completion_length=4096, num_answers=4)]
    + [Case(shape="Qwen3-8B", zero_variance_share=share) for share in (0.0, 0.5)]
    + [Case(shape="Qwen3-0.6B, equal shares", zero_variance_share=share) for share in (0.0, 0.5)]
    + [Case(shape="LM head of Qwen3-0.6B", num_answers=4)]
)


COLUMNS = [
    *("shape", "rho", "zero-variance groups", "tokens", "TRL, no mask", "TRL's mask", "here", "scoring"),
    *("times faster", "with scoring", "memory", "floor"),
]


def build_row(case: Case, result: dict[str, dict[str, float]]) -> list[str]:
    """Build the row of a case: seconds of updates, times of TRL's mask over ours, our memory over that of TRL's mask."""
    ours, mask, plain = result["forking"], result["TRL's mask"], result["TRL, no mask"]
    seconds = [plain["update"], mask["update"], ours["update"], ours["scoring"]]
    ratios = [mask["update"] / ours["update"], mask["update"] / (ours["update"] + ours["scoring"])]
    return [
        *(case.shape, f"{case.rho:g}", f"{case.zero_variance_share:g}", f"{case.completion_length}"),
        *(f"{value:.2f} s" for value in seconds),
        *(f"{ratio:.2f}" for ratio in [*ratios, ours["peak_bytes"] / mask["peak_bytes"]]),
        f"{ours['floor']:.2f} s",
    ]


def plot_results(results: list[dict[str, Any]], path: Path) -> None:
    """Plot how many times faster each case is, without and with the scoring pass."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.45 * len(results) + 1.2), layout="constrained")
    axes = figure.subplots()
    labels = []
    for position, entry in enumerate(results):
        case, ours = entry["case"], entry["result"]["forking"]
        mask = entry["result"]["TRL's mask"]["update"]
        axes.barh(position - 0.2, mask / ours["update"], 0.38, color=ACCENT, label="without the scoring pass")
        axes.barh(
            position + 0.2, mask / (ours["update"] + ours["scoring"]), 0.38, color=OTHER, label="with the scoring pass"
        )
        labels.append(
            f"{case['shape']}, rho {case['rho']:g}, zero variance {case['zero_variance_share']:g}, {case['completion_length']} tokens"
        )
    axes.set_yticks(range(len(results)), labels)
    axes.invert_yaxis()
    axes.axvline(1.0, color=MUTED, linewidth=1)
    axes.set_xlabel("times faster than TRL's own mask, same run")
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles[:2], names[:2], frameon=False, loc="outside upper right", ncols=2)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--micro-batch", type=int, default=4)
    parser.add_argument("--cases", type=int, nargs="*", help="numbers of the cases to run (all)")
    parser.add_argument("--full-size", action="store_true", help="use full-size shapes in bfloat16 (needs a GPU)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    versions = f"torch {torch.__version__}, trl {trl.__version__}, transformers {transformers.__version__}"
    print(f"{device}; Python {platform.python_version()}, {versions}; medians of {arguments.repeats}\n")
    results, rows = [], []
    for number in arguments.cases if arguments.cases is not None else range(len(CASES)):
        case = CASES[number]
        result = measure(case, arguments.repeats, not arguments.full_size, arguments.micro_batch)
        results.append({"case": asdict(case), "result": result})
        rows.append(build_row(case, result))
        print(", ".join(rows[-1]), flush=True)
    print(f"\n{format_table(COLUMNS, rows)}")
    if arguments.plot:
        plot_results(results, arguments.plot)
    if arguments.json:
        content = {"device": device, "versions": versions, "results": results}
        write_atomically(arguments.json, json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
