"""A callback that writes a page of the newest answers every few steps of the training and sends it to trackers."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.logging import get_logger
from accelerate.utils import gather_object, send_to_device

from ..decoding.sampling import find_eos_token_ids
from ..rollout.callback import Rollout, RolloutCallback
from ..run.completions_table import format_prompt
from ..run.trainer_protocol import ForkingTrainer
from ..run.user_errors import UserError, check_at_least
from ..selection.tokens import round_entropies, select_tokens
from ..writing.files import write_atomically
from ..writing.token_texts import TokenTexts
from . import ScoredAnswer
from .page import draw_figures, require_plots, write_page
from .summary import summarize
from .trackers import log_fork_report


logger = get_logger(__name__)


class ForkReportCallback(RolloutCallback):
    r"""
    Shows the forks of a run while it trains.

    The callback acts at the first step, at the last step and every `every_n_steps` steps. Each time it does three things:

    - It writes the page `_forks/step-<n>.html` into the run's folder. The page shows the newest answers, with every token
      shaded by its entropy and the kept tokens marked, tables and figures. The
      page has the probability of a token only if the trainer scored the rollout for its update. It has no alternatives
      to a token: run `trl-forking analyze` on a checkpoint to see them.
    - It sends the words with the highest entropies, the marked answers and the distribution of the entropies to wandb,
      trackio and TensorBoard, if the run reports to them. wandb and trackio also get the page.
    - It logs `forking/overlap_with_base`: the share of the first model's forks that are still forks. The tokens are those
      of the first rollout, one micro-batch of each process; the callback scores them again each time. (In the paper, the
      last checkpoint writes the answers. `trl-forking compare` follows the paper.)

    The entropies on the page are those of the policy that wrote the answers.

    Args:
        trainer ([`ForkingGRPOTrainer`]):
            Trainer that the callback is added to.
        every_n_steps (`int`, *optional*, defaults to `50`):
            Steps from one page to the next. `None` makes one page, at the last step, and logs no overlap: then all other
            steps are as they would be without the callback.
        max_answers (`int`, *optional*, defaults to `64`):
            Largest number of answers on a page.

    Raises:
        `ValueError`: if a number is below 1, or if `selection_scope` is `"micro_batch"`: the trainer then selects tokens
            after the callback has recorded the answers.

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
    >>> Path("runs/seen/_forks/step-1.html").is_file()
    True
    ```
    """

    def __init__(self, trainer: ForkingTrainer, every_n_steps: int | None = 50, max_answers: int = 64):
        self.trainer, self.every_n_steps, self.max_answers = trainer, every_n_steps, max_answers
        check_at_least(1, self, "every_n_steps", "max_answers")
        if trainer.args.selection_scope == "micro_batch" and trainer.args.drops_tokens:
            raise ValueError(
                "ForkReportCallback marks the kept tokens of each rollout, but with selection_scope='micro_batch' the trainer "
                "selects them later, at each forward pass: set selection_scope to 'batch' or 'sequence'."
            )
        self._newest: dict[str, Any] | None = None
        self._probe: dict[str, Any] | None = None

    @property
    def folder(self) -> Path:
        """Folder of the pages. Its name begins with `_`, so it is never pushed: the pages hold rows of the data."""
        return Path(self.trainer.args.output_dir) / "_forks"

    def wants_rollout(self, args: Any, state: Any) -> bool:
        """Return whether the next rollout can be on a page."""
        if self.every_n_steps is not None:
            return True
        micro_batches = args.steps_per_generation * args.num_iterations
        last = state.global_step + math.ceil(micro_batches / args.gradient_accumulation_steps)
        return bool(last >= state.max_steps)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.every_n_steps is None:
            return
        self._probe = self._load_probe() if state.global_step else None
        if state.global_step and self._probe is None:
            logger.warning(
                f"forking/overlap_with_base is not logged: {self.folder} does not have the first answers of every process, "
                "and the model that the training started from is not here to score new ones."
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Transformers stops after this step by `control` or because it is the last.
        is_last = control.should_training_stop or state.global_step >= state.max_steps
        if self.every_n_steps is None:
            if is_last:
                self._report(state.global_step)
            return
        if self._probe is None and state.global_step == 1:
            self._take_probe()
        if state.global_step % self.every_n_steps and state.global_step != 1 and not is_last:
            return
        if self._probe is not None:
            self.trainer.metric_means.add("overlap_with_base", self._compute_overlap(self._probe))
        control.should_log = True
        self._report(state.global_step)

    # The probe: answers of the first model, which are scored again and again --------------------------------------------------

    def _take_probe(self) -> None:
        path = self._get_probe_path()
        first = (self.trainer._buffered_inputs or [{}])[0]
        # The metrics of the selection are left out: nobody reads them again.
        probe = send_to_device({name: first[name] for name in first if not name.startswith("forking/")}, "cpu")
        self._probe = probe
        try:  # a full disk must not end the run
            write_atomically(path, lambda file: torch.save(probe, file))
        except OSError as error:
            text = f"{path} was not written, so a resumed run will not log forking/overlap_with_base: {error}"
            logger.warning(text, main_process_only=False)

    def _load_probe(self) -> dict[str, Any] | None:
        path, trainer = self._get_probe_path(), self.trainer
        missing = torch.tensor(0 if path.is_file() else 1, device=trainer.accelerator.device)
        # Scoring is a collective operation: all processes do it, or none.
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
            for entropies in (probe["entropies"], trainer.score_rollout(probe))
        )
        num_shared, num_before = trainer._reduce(torch.stack([(before & now).sum(), before.sum()])).tolist()
        return float(num_shared / max(num_before, 1))

    # The page --------------------------------------------------------------------------------------------------------

    def on_rollout(self, args: Any, state: Any, control: Any, rollout: Rollout, **kwargs: Any) -> None:
        """Keep what a page shows of the newest rollout: this process's share of the answers."""
        batch, rewards = rollout.batch, rollout.rewards_per_func
        num_rows = -(-self.max_answers // self.trainer.accelerator.num_processes)
        names = ["prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "entropies", "kept", "row_ids"]
        names += ["old_per_token_logps"] if "old_per_token_logps" in batch else []
        self._newest = {name: batch[name][:num_rows].detach().cpu() for name in names}
        self._newest["prompts"] = [row.get("prompt") for row in rollout.inputs[:num_rows]]
        weights = self.trainer.reward_weights.to(rewards.device)
        totals = (rewards * weights).nansum(1).masked_fill(rewards.isnan().all(1), float("nan")).cpu()
        self._newest["rewards"] = totals[self._newest["row_ids"]]

    def _report(self, step: int) -> None:
        records = gather_object(self._build_records())
        if not records or not self.trainer.is_world_process_zero():
            return
        try:  # neither a tracker that does not answer nor a full disk may end the run
            self._write(step, records[: self.max_answers])
        except Exception as error:
            logger.warning(f"The page of step {step} was not made: {error}")

    def _write(self, step: int, records: list[ScoredAnswer]) -> None:
        args = self.trainer.args
        summary = summarize(records, args.top_entropy_quantile, min_count=5)
        path = self.folder / f"step-{step}.html"
        names = ("output_dir", "top_entropy_quantile", "token_selection", "selection_scope")
        settings = {"step": step} | {name: getattr(args, name) for name in names}
        figures: dict[str, Any] = {}
        with suppress(UserError):  # matplotlib may be missing
            require_plots()
            figures = draw_figures(records, summary)
        write_page(path, records, f"Forks at step {step}", settings, summary, figures, self.max_answers)
        log_fork_report(self.trainer, step, records, summary, path)

    def _build_records(self) -> list[ScoredAnswer]:
        newest = self._newest
        if newest is None:  # the run was resumed in the middle of a rollout
            return []
        texts = TokenTexts(self.trainer._tokenizer)
        ends = find_eos_token_ids(self.trainer.accelerator.unwrap_model(self.trainer.model), self.trainer._tokenizer)
        logps = newest.get("old_per_token_logps", torch.full_like(newest["entropies"], math.nan))
        return [self._build_record(newest | {"logps": logps}, row, texts, ends) for row in range(len(logps))]

    def _build_record(self, newest: dict[str, Any], row: int, texts: TokenTexts, ends: list[int]) -> ScoredAnswer:
        mask, prompt_mask = newest["completion_mask"][row].bool(), newest["prompt_mask"][row].bool()
        ids, reward, prompt = (
            newest["completion_ids"][row][mask],
            newest["rewards"][row].item(),
            newest["prompts"][row],
        )
        prompt_index, answer_index = divmod(newest["row_ids"][row].item(), self.trainer.num_generations)
        prompt_ids = newest["prompt_ids"][row][prompt_mask]
        return ScoredAnswer(
            prompt_index=prompt_index,
            answer_index=answer_index,
            prompt=texts.tokenizer.decode(prompt_ids) if prompt is None else format_prompt(prompt),
            token_ids=ids.numpy(),
            tokens=texts.split(ids.tolist()),
            entropies=newest["entropies"][row][mask].float().numpy(),
            logprobs=newest["logps"][row][mask].float().numpy(),
            top_tokens=[[] for _ in ids],
            top_logprobs=np.zeros((len(ids), 0), np.float32),
            reward=None if math.isnan(reward) else reward,
            is_truncated=not len(ids) or ids[-1].item() not in ends,
            kept=newest["kept"][row][mask].numpy(),
        )
