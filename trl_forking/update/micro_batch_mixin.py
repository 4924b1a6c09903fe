"""Micro-batches of equal cost in the trainer: TRL's parts of a rollout are dealt anew, once, before they are trained."""

import math
from dataclasses import replace
from typing import Any

import torch
from accelerate.logging import get_logger
from accelerate.utils import gather_object

from ..forking_grpo_config import ForkingGRPOConfig
from ..selection.token_selector import get_loss_mask
from ..selection.words import NORMALIZER_EXTENT
from .dealing import SLACK, deal, spread
from .exchange import exchange_rows
from .fork_path_mixin import ForkPathMixin
from .micro_batch_facts import Column, compute_facts, sum_micro_batches
from .micro_batches import Row, build_micro_batch, take_rows
from .positions import sees_distances_only
from .rank_plan import plan_ranks
from .scoring import MULTIMODAL
from .sparse_update import find_prompt_learning, measure_rows
from .token_limit import count_micro_batches, explain_limit


logger = get_logger(__name__)


def find_dealing_obstacle(args: ForkingGRPOConfig, model: torch.nn.Module, aux_loss_enabled: bool) -> str | None:
    """
    Say why the loss depends on how its answers are split into micro-batches, so that they stay as TRL splits them.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings of the run.
        model (`torch.nn.Module`):
            Model or PEFT model.
        aux_loss_enabled (`bool`):
            Whether the loss has the router term of a mixture of experts.

    Returns:
        `str` or `None`: the reason, as the rest of a sentence that begins with "because"; `None` if there is none.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> from trl_forking.countdown import load_countdown_model
    >>> find_dealing_obstacle(ForkingGRPOConfig("runs/example", loss_type="bnpo"), load_countdown_model(), False)
    "loss_type='bnpo' divides by the tokens of a micro-batch"
    ```
    """
    if NORMALIZER_EXTENT[args.loss_type] == "micro_batch":
        return f"loss_type={args.loss_type!r} divides by the tokens of a micro-batch"
    if args.drops_tokens and args.selection_scope == "micro_batch":
        return "selection_scope='micro_batch' selects within a micro-batch"
    if args.entropy_coef != 0.0 or args.use_adaptive_entropy:
        return "the entropy bonus is a mean over a micro-batch"
    if aux_loss_enabled:
        return "the router loss of a mixture of experts is a mean over a micro-batch"
    return find_prompt_learning(model)


class MicroBatchMixin(ForkPathMixin):
    """Trains on the rollouts of [`~trl.GRPOTrainer`] in micro-batches whose answers have similar lengths."""

    args: ForkingGRPOConfig
    rollout_settings: ForkingGRPOConfig
    _buffered_inputs: Any
    _is_sparse: bool
    _said_obstacle: str | None = None

    def _prepare_inputs(self, generation_batch):
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if not self.model.training or self._buffered_inputs is before:
            return inputs
        self._buffered_inputs = self._arrange(self._buffered_inputs)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _arrange(self, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Deal the answers of a new rollout to micro-batches, and add to each what is known of it."""
        model = self.accelerator.unwrap_model(self.model)
        table = torch.cat([self._tabulate(part, model) for part in parts])
        is_dealt = self._deals(parts)
        if is_dealt and self._moves_rows(parts[0]):
            rows, table, plan = self._exchange(parts, table)
        elif is_dealt:
            rows, plan = dict(enumerate(row for part in parts for row in take_rows(part))), self._plan(table)
        else:
            size = len(table) // len(parts)
            rows, plan = {}, [list(range(start, start + size)) for start in range(0, len(table), size)]
        sums = sum_micro_batches(table, plan)
        sums = self.accelerator.gather(sums.to(self.accelerator.device)).view(-1, *sums.shape).cpu()  # (W, M, 6)
        self._check_limit(table, sums, is_dealt)
        sizes = sums[:, :, Column.ROWS].amax(0).clamp(min=1).tolist()
        if is_dealt:
            pad_token_id = self._tokenizer.pad_token_id
            parts = [
                build_micro_batch([rows[place] for place in places], size, parts[0], pad_token_id)
                for places, size in zip(plan, sizes, strict=True)
            ]
        self._note_facts(parts, sums, sizes)
        return parts

    @property
    def _step_size(self) -> int:
        """Number of micro-batches that are in one optimizer step for certain, counted from the start of a rollout.

        Optimizer steps begin at multiples of `gradient_accumulation_steps`, and rollouts, also when they are trained
        again, at multiples of `steps_per_generation`.
        """
        return math.gcd(self.args.steps_per_generation, self.args.gradient_accumulation_steps)

    def _tabulate(self, part: dict[str, Any], model: torch.nn.Module) -> torch.Tensor:
        """Count what the answers of a part have and cost, `(B, 6)`."""
        attention_mask = torch.cat([part["prompt_mask"], part["completion_mask"]], dim=1)
        mask = get_loss_mask(part)
        counted, kept = (part.get(name, mask) for name in ("counted", "kept"))
        if self.leaves_out_padding and not _has_images(part):
            scored = kept if self._is_sparse else part["completion_mask"].bool()
            computed, real = measure_rows(model, attention_mask, scored, self.pad_to_multiple_of or 1)
        else:
            computed, real = torch.full_like(mask.sum(1), attention_mask.size(1)), attention_mask.sum(1)
        ones = torch.ones_like(real)
        return torch.stack([computed, real, mask.sum(1), counted.sum(1), kept.sum(1), ones], dim=1).cpu()

    def _deals(self, parts: list[dict[str, Any]]) -> bool:
        """Return whether the answers of a rollout are dealt, the same on all ranks."""
        settings = self.rollout_settings
        if not (settings.sparse_update and settings.balance_micro_batches):
            return False
        num_with_images = torch.tensor(sum(map(_has_images, parts)), device=self.accelerator.device)
        obstacle = find_dealing_obstacle(settings, self.model, self.aux_loss_enabled)
        if self.accelerator.reduce(num_with_images, reduction="sum"):
            obstacle = obstacle or "images belong to their rows"
        has_choice = settings.gradient_accumulation_steps > 1 or self.accelerator.num_processes > 1
        if obstacle is not None and has_choice and obstacle != self._said_obstacle:
            logger.warning(f"Answers stay in the micro-batches that TRL makes, because {obstacle}.")
            self._said_obstacle = obstacle
        return obstacle is None

    def _plan(self, table: torch.Tensor) -> list[list[int]]:
        """Choose the answers of each micro-batch. None is moved to another optimizer step."""
        size, num_parts = self._step_size, self.args.steps_per_generation
        num_rows = len(table) // num_parts * size
        plan: list[list[int]] = []
        for start in range(0, len(table), num_rows):
            lengths = table[start : start + num_rows, Column.COMPUTED].tolist()
            groups = deal(lengths, size, SLACK)
            spread(groups, [row for row, length in enumerate(lengths) if length == 0])
            plan += [[start + row for row in group] for group in groups]
        return plan

    def _moves_rows(self, part: dict[str, Any]) -> bool:
        """Return whether answers move to other ranks, the same on all ranks."""
        if not self.rollout_settings.balance_ranks or self.accelerator.num_processes == 1:
            return False
        parallelism = self.accelerator.parallelism_config
        obstacle = None
        if not sees_distances_only(self.accelerator.unwrap_model(self.model)):
            obstacle = "the model counts positions from the left end of a batch, which differs between processes"
        elif parallelism is not None and parallelism.non_data_parallel_size > 1:
            obstacle = "several processes work on the same answers"
        if obstacle is not None and obstacle != self._said_obstacle:
            logger.warning(f"Answers stay on the process that wrote them, because {obstacle}.")
            self._said_obstacle = obstacle
        if self._keeps_states():  # computing them anew would cost more than ranks wait for each other
            return False
        # A rank whose answers have one token each cannot tell a number for each token from one for each answer.
        is_unclear = torch.tensor(int(part["completion_mask"].size(1) == 1), device=self.accelerator.device)
        return not self.accelerator.reduce(is_unclear, reduction="sum") and obstacle is None

    def _exchange(
        self, parts: list[dict[str, Any]], table: torch.Tensor
    ) -> tuple[dict[int, Row], torch.Tensor, list[list[int]]]:
        """Deal the answers of all ranks to the micro-batches of all, and bring those of this rank here."""
        rows = [row for part in parts for row in take_rows(part)]
        masks = [(part["prompt_mask"].sum(1), part["completion_mask"].sum(1)) for part in parts]
        sizes = torch.cat([torch.stack(of_part, dim=1) for of_part in masks]).clamp(min=1)
        known = torch.cat([table.to(sizes.device), sizes], dim=1)
        known = self.accelerator.gather(known).view(-1, *known.shape).cpu()  # (W, N, 8)
        size, num_rows = self._step_size, len(rows) // len(parts) * self._step_size
        plans: list[list[list[int]]] = [[] for _ in known]
        for start in range(0, len(rows), num_rows):
            lengths = known[:, start : start + num_rows, Column.COMPUTED].tolist()
            for plan, of_rank in zip(plans, plan_ranks(lengths, size), strict=True):
                for places in of_rank:
                    ranks_and_rows = (divmod(place, num_rows) for place in places)
                    plan.append([rank * len(rows) + start + row for rank, row in ranks_and_rows])
        rank = self.accelerator.process_index
        trained = [[place for places in plan for place in places] for plan in plans]
        here = exchange_rows(rows, parts[0], known[:, :, len(Column) :], trained, rank)
        return here, known[:, :, : len(Column)].flatten(0, 1), plans[rank]

    def _check_limit(self, table: torch.Tensor, sums: torch.Tensor, is_dealt: bool) -> None:
        """Refuse micro-batches above `max_tokens_per_micro_batch`, on all ranks if there is one on any."""
        limit, largest = self.args.max_tokens_per_micro_batch, int(sums[:, :, Column.COMPUTED].max())
        if limit is None or largest <= limit:
            return
        size, num_rows = self._step_size, self.args.per_device_train_batch_size
        num_ranks = len(table) // (self.args.steps_per_generation * num_rows)  # that the answers are dealt to
        steps = table[:, Column.COMPUTED].view(num_ranks, -1, size * num_rows).transpose(0, 1).flatten(1).tolist()
        needed = [count_micro_batches(lengths, num_rows, limit, is_dealt, num_ranks) for lengths in steps]
        of_ranks = gather_object([(min(needed) and max(needed), max(map(max, steps)))])
        all_needed, longest = [n for n, _ in of_ranks], max(length for _, length in of_ranks)
        num_needed = 0 if 0 in all_needed else max(all_needed)
        raise ValueError(explain_limit(self.args, largest, longest, size, num_needed))

    def _note_facts(self, parts: list[dict[str, Any]], sums: torch.Tensor, sizes: list[int]) -> None:
        size, num_rows = self._step_size, self.args.per_device_train_batch_size
        is_mean_over_rows = NORMALIZER_EXTENT[self.args.loss_type] != "batch"
        # Means over micro-batches stay where tokens are selected in each of them, and where all is as in TRL.
        drops_tokens, has_kept = self.rollout_settings.drops_tokens, "kept" in parts[0]
        keeps_means = not has_kept if drops_tokens else not self.leaves_out_padding
        for start in range(0, len(parts), size):
            step = slice(start, start + size)
            for part, fact, num in zip(
                parts[step], compute_facts(sums[:, step], sizes[step]), sizes[step], strict=True
            ):
                scale = num / num_rows if is_mean_over_rows else 1.0
                weights = ("token_weight", "counted_weight", "kept_weight", "row_weight") if keeps_means else ()
                replace(fact, loss_scale=scale, **dict.fromkeys(weights, 1.0)).write_to(part)


def _has_images(part: dict[str, Any]) -> bool:
    return any(part.get(name) is not None for name in MULTIMODAL)
