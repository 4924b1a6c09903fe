"""What the update costs: with this trainer, with TRL's own mask and with TRL without a mask.

The three trainers take turns in one process, on the same made-up answers, so that a change of the machine's speed affects all
of them. An update is forward and backward: the rollouts come from a table, and the optimizer does not run. Lengths are
long-tailed (log-normal, with a mean of 0.37 of the longest), as those of reasoning models are, or even (half to full length).
The weights are random. The shapes keep the proportions of Qwen3-0.6B and Qwen3-8B: on a CPU layers, hidden size and vocabulary are divided
by the same factor, and on a GPU they have full size, in bfloat16. The scoring pass that computes the entropies is timed
separately.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/update_step.py --json update_step.json

With `--forks` it times the fork path (`gradient_path="forks"`) in the same way, with keys and values at hand from the scoring pass, and with
a pass for them in the update, as where the entropies were taken while sampling. How far its gradient is from the exact one on a real model
is another script's matter: `benchmarks/gradient_cosines.py`.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/update_step.py --forks --json fork_path.json
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import trl
from answer_lengths import spread_lengths
from datasets import Dataset
from made_up_models import build_config, build_tokenizer
from peft import LoraConfig, get_peft_model
from timing import PeakMemory, measure_rate, synchronize
from transformers import Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.writing.colors import ACCENT, MUTED, OTHER
from trl_forking.writing.files import write_atomically
from trl_forking.writing.markdown import format_table


NUM_GENERATIONS = 4
PROMPT_LENGTH = 16
Clock = Callable[[], float]


@dataclass(frozen=True)
class Case:
    """What varies: the answers, the share kept, and the share of zero-variance groups."""

    shape: str = "Qwen3-0.6B, equal shares"
    rho: float = 0.2
    zero_variance_share: float = 0.0
    lengths: str = "long-tailed"
    completion_length: int = 256
    num_answers: int = 64
    micro_batch: int = 8
    gradient_checkpointing: bool = False
    lora: bool = False
    gradient_path_window: int = 0
    token_selection: str = "high_entropy"  # of this library; TRL's mask keeps the highest entropies


class FixedAnswers:
    """A `rollout_func` and a reward. The random answers are the same for every trainer."""

    def __init__(self, case: Case, vocabulary: int):
        generator = torch.Generator().manual_seed(0)
        lengths = choose_lengths(case)
        self.answers = [torch.randint(3, vocabulary, (n,), generator=generator).tolist() for n in lengths]
        self.prompt = torch.randint(3, vocabulary, (PROMPT_LENGTH,), generator=generator).tolist()
        self.num_zero_variance = round(case.zero_variance_share * case.num_answers / NUM_GENERATIONS) * NUM_GENERATIONS

    def roll_out(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        return {"prompt_ids": [self.prompt] * len(prompts), "completion_ids": self.answers, "logprobs": None}

    def reward(self, completions: list, **kwargs: Any) -> list[float]:
        return [1.0 if index < self.num_zero_variance else float(index % 2) for index in range(len(completions))]


def choose_lengths(case: Case) -> list[int]:
    generator, longest = np.random.default_rng(0), case.completion_length
    if case.lengths == "long-tailed":
        return spread_lengths(case.num_answers, longest, generator).tolist()
    return [longest, *generator.integers(longest // 2, longest, case.num_answers - 1).tolist()]


def build_model(case: Case, scale_down: bool) -> Any:
    """Build a model with random weights on the device, in float32 if it is scaled down, else in bfloat16."""
    torch.manual_seed(0)
    with torch.device(
        "cuda" if torch.cuda.is_available() else "cpu"
    ):  # weights of 8B parameters are slow to draw on a CPU
        model = Qwen3ForCausalLM._from_config(
            build_config(case.shape, scale_down), dtype=torch.float32 if scale_down else torch.bfloat16
        )
    with torch.no_grad():  # larger logits, so that entropies differ
        model.get_output_embeddings().weight.mul_(4.0)
    if case.gradient_checkpointing:  # Transformers turns it on in `train`, which is not called here
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return get_peft_model(model, LoraConfig(r=16, target_modules="all-linear")) if case.lora else model


def build_trainer(kind: str, case: Case, model: Any) -> Any:
    answers = FixedAnswers(case, model.config.vocab_size)
    settings: dict[str, Any] = {"top_entropy_quantile": 1.0 if kind == "TRL, no mask" else case.rho}
    is_ours = not kind.startswith("TRL")
    trainer_class, config_class = (ForkingGRPOTrainer, ForkingGRPOConfig) if is_ours else (GRPOTrainer, GRPOConfig)
    if is_ours:
        settings["token_selection"] = case.token_selection
    if kind in FORK_KINDS:
        settings |= {"gradient_path": "forks", "gradient_path_window": case.gradient_path_window}
    trainer = trainer_class(
        model=model,
        reward_funcs=answers.reward,
        args=config_class(
            tempfile.mkdtemp(),
            max_steps=1,
            per_device_train_batch_size=case.micro_batch,
            gradient_accumulation_steps=case.num_answers // case.micro_batch,
            num_generations=NUM_GENERATIONS,
            max_completion_length=case.completion_length,
            loss_type="dapo",
            epsilon_high=0.28,
            use_cpu=not torch.cuda.is_available(),
            bf16=torch.cuda.is_available(),
            gradient_checkpointing=case.gradient_checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": False},
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **settings,
        ),
        train_dataset=Dataset.from_dict({"prompt": ["?"] * case.num_answers}),
        processing_class=build_tokenizer(),
        rollout_func=answers.roll_out,
    )
    trainer.current_gradient_accumulation_steps = case.num_answers // case.micro_batch
    if kind == ANEW:  # the scoring pass keeps nothing, so that every micro-batch makes a pass for keys and values
        trainer.score_and_keep_states = lambda batch, only=None: trainer.score_rollout(batch, only)
    return trainer


class ScoringClock:
    """Adds up the seconds of the scoring passes of a trainer."""

    def __init__(self, trainer: Any, clock: Clock):
        self.seconds, self._score, self._clock = 0.0, trainer.score_rollout, clock
        trainer.score_rollout = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = self._clock()
        entropies = self._score(*args, **kwargs)
        self.seconds += self._clock() - start
        return entropies


def run_update(trainer: Any, case: Case, read_clock: Clock = synchronize) -> dict[str, float]:
    """Make one rollout batch and update on it. Return seconds of scoring pass and update, and the peak memory in bytes."""
    clock = ScoringClock(trainer, read_clock) if isinstance(trainer, ForkingGRPOTrainer) else None
    trainer.model.train()
    for parameter in trainer.model.parameters():  # the memory of the gradient is no part of the peak
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    trainer._step, trainer._buffered_inputs = 0, None
    rows = list(trainer.train_dataset.select(range(case.num_answers)))
    first = trainer._prepare_inputs(rows)  # scores the batch, splits it and returns the first micro-batch
    kept_bytes = count_kept_bytes(trainer)
    with PeakMemory() as memory:
        start = read_clock()
        for step in range(trainer.args.gradient_accumulation_steps):
            trainer._step = step
            inputs = first if step == 0 else trainer._prepare_inputs(rows)
            trainer.accelerator.backward(trainer.compute_loss(trainer.model, inputs))
        seconds = read_clock() - start
    if clock:
        trainer.score_rollout = clock._score
    return {"scoring": clock.seconds if clock else 0.0, "update": seconds, "peak_bytes": memory.bytes + kept_bytes}


def count_kept_bytes(trainer: Any) -> int:
    """Count the keys and values that are at hand when the update begins."""
    if not isinstance(trainer, ForkingGRPOTrainer) or trainer.args.gradient_path != "forks":
        return 0
    rows = trainer._states_store._rows.values()
    parts = (part for row in rows for of_layers in (row.keys, row.values) for part in of_layers.values())
    return sum(part.numel() * part.element_size() for part in parts)


def compute_floor(case: Case, model: Any, rate: float) -> float:
    """Compute the seconds that an update takes at least: 6 operations for each weight and each token that meets it.

    Every token of the informative groups, prompts included, meets the weights of the backbone. Only kept tokens meet the head.
    Frozen weights have no gradient of their own, which leaves 4 operations.
    """
    rollout = FixedAnswers(case, model.config.vocab_size)
    lengths = [len(ids) for ids in rollout.answers[rollout.num_zero_variance :]]
    backbone = sum(p.numel() for name, p in model.named_parameters() if "layers." in name)
    head = model.get_output_embeddings().weight.numel()
    num_operations = 4 if case.lora else 6
    num_tokens = sum(lengths) + PROMPT_LENGTH * len(lengths)
    return num_operations * (backbone * num_tokens + head * case.rho * sum(lengths)) / rate


KINDS = ("TRL, no mask", "TRL's mask", "forking")
AT_HAND, ANEW = FORK_KINDS = ("fork path, keys at hand", "fork path, keys anew")


def measure(
    case: Case, repeats: int, scale_down: bool, kinds: Sequence[str] = KINDS, read_clock: Clock = synchronize
) -> dict[str, dict[str, float]]:
    model = build_model(case, scale_down)
    causal_model = model.get_base_model() if case.lora else model
    plain_forward = causal_model.forward
    records: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    trainers = {}
    for kind in kinds:
        causal_model.forward = plain_forward  # each trainer replaces it with its own fused head
        trainers[kind] = (build_trainer(kind, case, model), causal_model.forward)
    for repeat in range(repeats + 1):
        for kind, (trainer, forward) in trainers.items():
            causal_model.forward = forward
            record = run_update(trainer, case, read_clock)
            if repeat:  # the first round is a warm-up
                records[kind].append(record)
    keys = ("scoring", "update", "peak_bytes")
    medians = {kind: {key: statistics.median(r[key] for r in rs) for key in keys} for kind, rs in records.items()}
    medians["forking"]["floor"] = compute_floor(case, model, measure_rate(model.device.type, model.dtype))
    return medians


def build_even(**settings: Any) -> Case:
    """A case with answers of half to full length, which leave little to balance."""
    return Case(**({"lengths": "even", "completion_length": 256, "num_answers": 16, "micro_batch": 4} | settings))


CASES = (
    [Case(rho=rho) for rho in (0.1, 0.2, 0.5, 1.0)]
    + [Case(zero_variance_share=share) for share in (0.25, 0.5)]
    + [Case(completion_length=2048, num_answers=16, micro_batch=4)]
    + [Case(shape="Qwen3-0.6B", zero_variance_share=share) for share in (0.0, 0.5)]
    + [Case(shape="Qwen3-8B", zero_variance_share=share) for share in (0.0, 0.5)]
    + [build_even(rho=rho) for rho in (0.2, 1.0)]
    + [build_even(zero_variance_share=0.5)]
    + [build_even(completion_length=1024, num_answers=8), build_even(completion_length=4096, num_answers=4)]
    + [build_even(shape="Qwen3-0.6B", rho=rho) for rho in (0.1, 0.2, 0.5, 1.0)]
    + [build_even(shape="Qwen3-0.6B", zero_variance_share=0.5), build_even(shape="Qwen3-8B")]
    + [build_even(shape="LM head of Qwen3-0.6B", num_answers=4)]
)


# At least 1,024 tokens are what the fork path is for. A window, half of the tokens, and checkpointing show what it depends on.
FORK_CASES = (
    [build_even(completion_length=length, num_answers=8) for length in (512, 1024)]
    + [build_even(completion_length=length, num_answers=4) for length in (2048, 4096)]
    + [build_even(completion_length=1024, num_answers=8, gradient_path_window=window) for window in (1, 4)]
    + [build_even(completion_length=1024, num_answers=8, gradient_checkpointing=True)]
    + [build_even(completion_length=length, num_answers=4, micro_batch=1) for length in (8192, 16_384)]
)
FORK_COLUMNS = [
    *("tokens", "window", "checkpointing", "TRL's mask", "full path", "scoring", "fork path", "with its pass"),
    *(
        "times faster, keys at hand",
        "pass counted",
        "scoring counted",
        "memory, full path",
        "keys at hand",
        "keys anew",
    ),
]


def build_fork_row(case: Case, result: dict[str, dict[str, float]]) -> list[str]:
    """Build the row of a case: seconds, times of TRL's mask over those of the fork path, and memory over that of TRL's mask."""
    mask, full, at_hand, anew = (result[kind] for kind in ("TRL's mask", "forking", AT_HAND, ANEW))
    seconds = [mask["update"], full["update"], at_hand["scoring"], at_hand["update"], anew["update"]]
    totals = [at_hand["update"], anew["update"], at_hand["scoring"] + at_hand["update"]]
    ratios = [mask["update"] / total for total in totals]
    return [
        *(f"{case.completion_length}", f"{case.gradient_path_window}", "yes" if case.gradient_checkpointing else "no"),
        *(f"{value:.2f} s" for value in seconds),
        *(f"{ratio:.2f}" for ratio in ratios),
        *(f"{kind['peak_bytes'] / mask['peak_bytes']:.2f}" for kind in (full, at_hand, anew)),
    ]


COLUMNS = [
    *("shape", "lengths", "tokens", "rho", "zero-variance groups", "TRL, no mask", "TRL's mask", "here", "scoring"),
    *("times faster", "with scoring", "memory", "floor"),
]


def build_row(case: Case, result: dict[str, dict[str, float]]) -> list[str]:
    """Build the row of a case: seconds of updates, times of TRL's mask over ours, our memory over that of TRL's mask."""
    ours, mask = result["forking"], result["TRL's mask"]
    plain = f"{result['TRL, no mask']['update']:.2f} s" if "TRL, no mask" in result else "-"
    seconds = [mask["update"], ours["update"], ours["scoring"]]
    ratios = [mask["update"] / ours["update"], mask["update"] / (ours["update"] + ours["scoring"])]
    return [
        *(case.shape, case.lengths, f"{case.completion_length}", f"{case.rho:g}", f"{case.zero_variance_share:g}"),
        *(plain, *(f"{value:.2f} s" for value in seconds)),
        *(f"{ratio:.2f}" for ratio in [*ratios, ours["peak_bytes"] / mask["peak_bytes"]]),
        f"{ours['floor']:.2f} s",
    ]


def plot_results(results: list[dict[str, Any]], path: Path) -> None:
    """Plot how many times faster each case is, without and with the scoring pass."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.55 * len(results) + 1.2), layout="constrained")
    axes = figure.subplots()
    labels = []
    for position, entry in enumerate(results):
        case, ours = asdict(Case(**entry["case"])), entry["result"]["forking"]
        mask = entry["result"]["TRL's mask"]["update"]
        axes.barh(position - 0.2, mask / ours["update"], 0.38, color=ACCENT, label="without the scoring pass")
        axes.barh(
            position + 0.2, mask / (ours["update"] + ours["scoring"]), 0.38, color=OTHER, label="with the scoring pass"
        )
        labels.append(
            f"{case['shape']}{', LoRA' if case['lora'] else ''}, {case['lengths']}, {case['completion_length']:,} tokens"
            f"{', checkpointing' if case['gradient_checkpointing'] else ''},\n{100 * case['rho']:g} % trained"
            f"{' by random_prefix' if case['token_selection'] == 'random_prefix' else ''}, "
            f"{100 * case['zero_variance_share']:g} % zero-variance groups"
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
    parser.add_argument("--cases", type=int, nargs="*", help="numbers of the cases to run (all)")
    parser.add_argument("--forks", action="store_true", help="time the fork path, on other cases")
    parser.add_argument("--full-size", action="store_true", help="use full-size shapes in bfloat16 (needs a GPU)")
    parser.add_argument(
        "--processor-time", action="store_true", help="time by the processor, on a CPU that others use too"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    versions = f"torch {torch.__version__}, trl {trl.__version__}, transformers {transformers.__version__}"
    print(f"{device}; Python {platform.python_version()}, {versions}; medians of {arguments.repeats}\n")
    cases, kinds, build, columns = CASES, KINDS, build_row, COLUMNS
    if arguments.forks:
        cases, kinds, build, columns = FORK_CASES, (*KINDS[1:], *FORK_KINDS), build_fork_row, FORK_COLUMNS
    read_clock = time.process_time if arguments.processor_time else synchronize
    results, rows = [], []
    for number in arguments.cases if arguments.cases is not None else range(len(cases)):
        case = cases[number]
        result = measure(case, arguments.repeats, not arguments.full_size, kinds, read_clock)
        results.append({"case": asdict(case), "result": result})
        rows.append(build(case, result))
        print(", ".join(rows[-1]), flush=True)
        if arguments.json:  # after each case, so that an interruption loses one case alone
            content = {"device": device, "versions": versions, "results": results}
            write_atomically(arguments.json, json.dumps(content, indent=2))
    print(f"\n{format_table(columns, rows)}")
    if arguments.plot and not arguments.forks:
        plot_results(results, arguments.plot)


if __name__ == "__main__":
    main()
