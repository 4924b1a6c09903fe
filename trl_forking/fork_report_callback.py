"""While training: a page of the newest answers every few steps, in the run's folder and in its trackers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.logging import get_logger
from accelerate.utils import send_to_device
from transformers import TrainerCallback

from .analysis import Record
from .analysis.report import write_report
from .analysis.statistics import summarize
from .selection import round_entropies, select_tokens
from .trackers import log_fork_report


if TYPE_CHECKING:
    from .forking_grpo_trainer import ForkingGRPOTrainer


logger = get_logger(__name__)


class ForkReportCallback(TrainerCallback):
    r"""
    Shows the forks of a run while it trains.

    Every `every_n_steps` steps, and at the first and the last one, it

    - writes `forks/step-<n>.html` into the run's folder: the newest answers with every token shaded by its entropy and
      the kept ones marked;
    - sends that page, the fork words, the marked answers and the distribution of the entropies to wandb, trackio and
      TensorBoard, where the run reports to them;
    - logs `forking/overlap_with_base`: of the tokens that were forks of the model that training began with, the share
      that are forks of the model as it is now. The tokens are those of the first rollout, one micro-batch of each
      process, and are scored anew each time. (The paper has the last checkpoint write the answers:
      `trl-forking compare` does that.)

    Entropies on the page are those under the policy that wrote the answers.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer that the callback is added to.
        every_n_steps (`int`, *optional*, defaults to `50`):
            Steps from one page to the next.
        max_answers (`int`, *optional*, defaults to `64`):
            Most answers on a page.

    Raises:
        `ValueError`: if a number is below 1, or the trainer chooses tokens in each micro-batch, after the answers are
            recorded.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
    >>> from trl_forking.countdown import (
    ...     countdown_reward, load_countdown_model, load_countdown_tokenizer, make_countdown_dataset
    ... )
    >>> trainer = ForkingGRPOTrainer(
    ...     model=load_countdown_model(),
    ...     reward_funcs=countdown_reward,
    ...     args=ForkingGRPOConfig("runs/seen", max_steps=1, max_completion_length=52, use_cpu=True, report_to="none"),
    ...     train_dataset=make_countdown_dataset("train", num_problems=8, seed=0),
    ...     processing_class=load_countdown_tokenizer(),
    ... )
    >>> trainer.add_callback(ForkReportCallback(trainer))
    >>> output = trainer.train()
    {'loss': ..., 'forking/overlap_with_base': ...}
    >>> from pathlib import Path
    >>> Path("runs/seen/forks/step-1.html").is_file()
    True
    ```
    """

    def __init__(self, trainer: "ForkingGRPOTrainer", every_n_steps: int = 50, max_answers: int = 64):
        for name, value in (("every_n_steps", every_n_steps), ("max_answers", max_answers)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, but it is {value}.")
        if trainer.args.selection_scope == "micro_batch" and trainer.args.drops_tokens:
            raise ValueError(
                "ForkReportCallback marks the kept tokens when the answers are recorded, but selection_scope='micro_batch' "
                "chooses later, at each forward pass: set selection_scope to 'batch' or 'sequence'."
            )
        self.trainer, self.every_n_steps, self.max_answers = trainer, every_n_steps, max_answers
        trainer.args.log_entropy = True  # all tokens are scored, and noted beside the answers
        self._probe: dict[str, Any] | None = None

    @property
    def folder(self) -> Path:
        """Folder of the pages."""
        return Path(self.trainer.args.output_dir) / "forks"

    def on_train_begin(self, args, state, control, **kwargs):
        self._probe = self._load_probe() if state.global_step else None
        if state.global_step and self._probe is None:
            logger.warning(
                f"{self.folder} has no probe of every process, so forking/overlap_with_base is not logged: the model that "
                "training began with is not at hand to make one."
            )

    def on_step_end(self, args, state, control, **kwargs):
        if self._probe is None and state.global_step == 1:
            self._take_probe()
        # Transformers stops after this step by `control` or because it is the last.
        is_last = control.should_training_stop or state.global_step >= state.max_steps
        if state.global_step % self.every_n_steps and state.global_step != 1 and not is_last:
            return
        if self._probe is not None:
            self.trainer._metrics["train"]["forking/overlap_with_base"].append(self._compute_overlap(self._probe))
        control.should_log = True
        if self.trainer.is_world_process_zero():
            self._report(state.global_step)

    # The probe: answers of the first model, scored again and again --------------------------------------------------

    def _take_probe(self) -> None:
        first = self.trainer._buffered_inputs[0]
        if self.trainer.args.drops_tokens or "entropies" in first:
            self._probe = send_to_device(first, "cpu")
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(self._probe, self._get_probe_path())

    def _load_probe(self) -> dict[str, Any] | None:
        path, trainer = self._get_probe_path(), self.trainer
        missing = torch.tensor(0 if path.is_file() else 1, device=trainer.accelerator.device)
        # All score it together, or none.
        return None if trainer._reduce(missing) else torch.load(path, map_location="cpu", weights_only=True)

    def _get_probe_path(self) -> Path:
        return self.folder / f"probe_{self.trainer.accelerator.process_index}.pt"

    def _compute_overlap(self, probe: dict[str, Any]) -> float:
        trainer = self.trainer
        probe = send_to_device(probe, trainer.accelerator.device)
        mask = probe["completion_mask"] * probe.get("tool_mask", 1)
        rho = trainer.args.top_entropy_quantile if trainer.args.drops_tokens else 0.2
        before, now = (
            select_tokens(
                round_entropies(entropies), mask.bool(), rho, row_ids=probe["row_ids"], reduce=trainer._reduce
            )
            for entropies in (probe["entropies"], trainer._score_rollout(probe))
        )
        num_shared, num_before = trainer._reduce(torch.stack([(before & now).sum(), before.sum()])).tolist()
        return num_shared / max(num_before, 1)

    # The page --------------------------------------------------------------------------------------------------------

    def _report(self, step: int) -> None:
        records = self._build_records()
        rho = self.trainer.args.top_entropy_quantile
        summary = summarize(records, rho, min_count=max(5, sum(len(record.tokens) for record in records) // 1000))
        path = self.folder / f"step-{step}.html"
        settings = {
            "step": step,
            "output_dir": self.trainer.args.output_dir,
            "token_selection": self.trainer.args.token_selection,
        }
        write_report(
            path,
            records,
            title=f"Forks at step {step}",
            settings=settings | {"top_entropy_quantile": rho},
            summary=summary,
            top_entropy_quantile=rho,
            max_answers=self.max_answers,
        )
        log_fork_report(self.trainer, step, records[: self.max_answers], summary, path)

    def _build_records(self) -> list[Record]:
        logs, rewards = self.trainer._logs, self.trainer.reward_weights.tolist()
        columns = [logs["extra"][name] for name in ("tokens", "entropies", "kept")]
        vocabulary: dict[str, int] = {}
        prompts: dict[str, int] = {}
        records: list[Record] = []
        for index, (prompt, *answer) in enumerate(zip(logs["prompt"], *columns, strict=True)):
            tokens, entropies, kept = map(list, answer)
            text = _format_prompt(prompt)
            prompt_index = prompts.setdefault(text, len(prompts))
            records.append(
                Record(
                    prompt_index=prompt_index,
                    answer_index=sum(record.prompt_index == prompt_index for record in records),
                    prompt=text,
                    token_ids=np.array([vocabulary.setdefault(token, len(vocabulary)) for token in tokens], np.int64),
                    tokens=tokens,
                    entropies=np.array(entropies, np.float32),
                    logprobs=np.full(len(tokens), np.nan, np.float32),
                    top_tokens=[[] for _ in tokens],
                    top_logprobs=np.zeros((len(tokens), 0), np.float32),
                    reward=_sum_rewards({name: values[index] for name, values in logs["rewards"].items()}, rewards),
                    kept=np.array(kept, bool),
                )
            )
        return records


def _format_prompt(prompt: str | list[Mapping[str, Any]]) -> str:
    """Write a conversation as text."""
    return (
        prompt if isinstance(prompt, str) else "\n".join(f"{turn['role']}: {turn.get('content')}" for turn in prompt)
    )


def _sum_rewards(rewards: Mapping[str, float | None], weights: list[float]) -> float | None:
    known = [
        weight * value
        for value, weight in zip(rewards.values(), weights, strict=True)
        if value is not None and value == value
    ]
    return sum(known) if known else None
