"""GRPO on forking tokens: TRL's trainer with per-token advantages."""

import inspect
import math
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch
from accelerate.logging import get_logger
from accelerate.utils import gather_object
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import get_config_model_id

from .card.model_card import create_card, record_run, warning_of_failure
from .forking_grpo_config import ForkingGRPOConfig
from .hub.push import PushMixin, prepare_push
from .rollout.dynamic_sampling import DynamicSampler, FilledRollout, find_informative_groups
from .rollout.prompt_stream import ResumableSampler
from .rollout.tape import Answer, RolloutTape, StopAfterRewards
from .run.checks import (
    check_entropies,
    check_fused_head,
    check_num_prompts,
    check_prompt_column,
    check_rewards,
    check_trainable,
    has_dropout,
    keep_4_bit_weights,
    make_bias_finite,
)
from .run.completions_table import CompletionsWriter, build_entropy_columns
from .run.resume import load_progress, mark_incomplete, resolve_checkpoint, save_progress
from .selection.metrics import compute_selection_metrics, correct_clip_ratios, find_clipped
from .selection.token_counts import TokenCounts
from .selection.tokens import (
    NORMALIZER_EXTENT,
    compute_loss_weights,
    round_entropies,
    select_tokens,
    select_tokens_per_sequence,
)
from .update.sparse_update import find_obstacle, score_only


logger = get_logger(__name__)

ScoreObserver = Callable[[torch.Tensor, torch.Tensor], None]
"""Receives log-probabilities and entropies `(B, T)` of a forward pass before its loss is computed."""


class ForkingGRPOTrainer(PushMixin, GRPOTrainer):
    r"""
    Trainer for GRPO on the tokens where the reasoning forks, from
    [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939).

    It maximizes Eq. 6 of the paper (version 2),

    $$
    \frac{1}{\sum_i \sum_t m_t^i} \sum_i \sum_t m_t^i
    \min\left(r_t^i A^i, \operatorname{clip}(r_t^i, 1 - \varepsilon_{low}, 1 + \varepsilon_{high}) A^i\right),
    \qquad m_t^i = \mathbb{1}[H_t^i \ge \tau_\rho],
    $$

    where \\( H_t^i \\) is the entropy at position \\( t \\) of answer \\( i \\) and \\( \tau_\rho \\) the threshold that
    the top share \\( \rho \\) of all tokens of the rollout batch reaches. The scalar advantage of an answer becomes one
    per token, zero on dropped tokens; everything else is [`~trl.GRPOTrainer`], whose arguments, data format and reward
    functions are unchanged.

    Args:
        model (`str` or [`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            Model to train, as in [`~trl.GRPOTrainer`].
        reward_funcs (`RewardFunc` or `list[RewardFunc]`, *optional*):
            Reward functions, as in [`~trl.GRPOTrainer`].
        args ([`ForkingGRPOConfig`], *optional*):
            Configuration. If `None`, the paper's defaults.
        train_dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`], *optional*):
            Dataset with a column `prompt`.
        *trainer_args, **trainer_kwargs:
            Everything else that [`~trl.GRPOTrainer`] takes, in its order.

    Raises:
        `TypeError`: if `args` is not a [`ForkingGRPOConfig`].
        `ValueError`: if the dataset has no column `prompt`, a reward function does not return one number per answer,
            or the model cannot be scored by TRL's fused LM head.
        `FloatingPointError`: in training, if an entropy is NaN; it names step, prompt and position.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
    >>> from trl_forking.countdown import (
    ...     countdown_reward, load_countdown_model, load_countdown_tokenizer, make_countdown_dataset
    ... )
    >>> trainer = ForkingGRPOTrainer(
    ...     model=load_countdown_model(),
    ...     reward_funcs=countdown_reward,
    ...     args=ForkingGRPOConfig("runs/example", max_steps=1, max_completion_length=52, use_cpu=True, report_to="none"),
    ...     train_dataset=make_countdown_dataset("train", num_problems=8, seed=0),
    ...     processing_class=load_countdown_tokenizer(),
    ... )
    >>> output = trainer.train()
    {'train_runtime': ...}
    ```
    """

    _tag_names = ["trl", "grpo", "trl-forking", "forking-grpo"]
    _name = "Forking GRPO"
    _paper = {
        "title": "Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement Learning for LLM "
        "Reasoning",
        "id": "2506.01939",
        "citation": textwrap.dedent("""\
            @inproceedings{wang2025beyond,
                title        = {{Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement Learning for LLM Reasoning}},
                author       = {Shenzhi Wang and Le Yu and Chang Gao and Chujie Zheng and Shixuan Liu and Rui Lu and Kai Dang and Xionghui Chen and Jianxin Yang and Zhenru Zhang and Yuqiong Liu and An Yang and Andrew Zhao and Yang Yue and Shiji Song and Bowen Yu and Gao Huang and Junyang Lin},
                year         = 2025,
                booktitle    = {Advances in Neural Information Processing Systems},
                eprint       = {arXiv:2506.01939},
            }"""),
    }

    def __init__(self, model, reward_funcs=None, args=None, train_dataset=None, *trainer_args, **trainer_kwargs):
        if args is None:
            model_id = model if isinstance(model, str) else get_config_model_id(model.config)
            args = ForkingGRPOConfig(f"{model_id.split('/')[-1]}-Forking-GRPO")
        if not isinstance(args, ForkingGRPOConfig):
            raise TypeError(
                f"args must be a ForkingGRPOConfig, but it is a {type(args).__name__}: pass the same settings to "
                "ForkingGRPOConfig instead."
            )
        self._check_inputs(model, reward_funcs, args, train_dataset, *trainer_args, **trainer_kwargs)
        super().__init__(model, reward_funcs, args, train_dataset, *trainer_args, **trainer_kwargs)
        check_fused_head(self.model)
        check_trainable(self.model)
        make_bias_finite(self.model)
        keep_4_bit_weights(self.model)
        self.add_callback(CompletionsWriter(self))
        self.top_entropy_quantile = 1.0  # the advantages carry the mask; TRL's own must not apply a second one
        self._observer: ScoreObserver | None = None
        self._chosen: torch.Tensor | None = None
        self._selection_metrics: dict[str, dict[str, float]] = {"train": {}, "eval": {}}
        self._token_counts, self._resumed_at, self._is_recorded = TokenCounts(), list[int](), False
        self.on_rollout: Callable[[dict[str, Any], list[dict[str, Any]], torch.Tensor], None] | None = None
        if args.drops_tokens and args.loss_normalizer == "kept" and NORMALIZER_EXTENT[args.loss_type] is None:
            logger.warning(
                f"loss_type={args.loss_type!r} divides by no number of tokens, so loss_normalizer='kept' changes nothing."
            )
        if args.loss_type == "cispo" and args.epsilon_high is not None and args.epsilon_high < 1.0:
            logger.warning(
                f"loss_type='cispo' caps every ratio at epsilon_high={args.epsilon_high}, which is below 1, the ratio of "
                "an unchanged policy: set epsilon_high to about 5.0."
            )
        obstacle = find_obstacle(args, self.model, self.aux_loss_enabled)
        self._is_sparse = args.sparse_update and args.drops_tokens and obstacle is None
        if args.sparse_update and args.drops_tokens and obstacle is not None:
            logger.warning(f"All tokens are computed, because {obstacle}.")
        self._tape = RolloutTape()
        # Of all ranks' last rollout.
        self._useful_groups, self._rewards_per_func = torch.empty(0, dtype=torch.bool), torch.empty(0, 0)
        self._sampler = DynamicSampler.from_trainer(self) if args.dynamic_sampling else None

    def _check_inputs(self, *args, **kwargs) -> None:
        """Check what can be checked before the model is loaded."""
        passed = inspect.signature(GRPOTrainer.__init__).bind(self, *args, **kwargs).arguments
        if passed.get("environment_factory") is None:
            check_prompt_column(passed["train_dataset"], "train_dataset")
            check_prompt_column(passed.get("eval_dataset"), "eval_dataset")
            if passed.get("rollout_func") is None:  # it may add columns that the rewards read
                check_rewards(passed["reward_funcs"], passed["train_dataset"])
        prepare_push(passed["args"])
        check_num_prompts(passed["train_dataset"], passed["args"])
        if not isinstance(passed["model"], str):
            check_fused_head(passed["model"])

    # Scores ------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _scoring(self, observer: ScoreObserver | None, chosen: torch.Tensor | None = None) -> Iterator[None]:
        """Let an observer see the scores of the passes inside, and score only the chosen tokens `(B, T)` in them."""
        self._observer, self._chosen = observer, chosen
        try:
            yield
        finally:
            self._observer = self._chosen = None

    def _get_per_token_logps_and_entropies(self, model, *args, compute_entropy=False, **kwargs):
        """Score as TRL does and let an observer see the scores; the fused head computes the entropies in any case."""
        if self._tape.is_recording:  # a round is judged by its rewards: most of its answers may never be trained
            unknown = torch.zeros(args[0].size(0), args[2], device=args[0].device)
            return unknown, unknown, None
        observer, chosen = self._observer, self._chosen
        sparse = nullcontext() if chosen is None else score_only(self.accelerator.unwrap_model(model), chosen)
        with sparse:
            logps, entropies, aux_loss = super()._get_per_token_logps_and_entropies(
                model, *args, compute_entropy=compute_entropy or observer is not None, **kwargs
            )
        if observer is not None:
            observer(logps.detach(), entropies.detach())
        return logps, entropies if compute_entropy else None, aux_loss

    def _score_rollout(self, batch: dict[str, Any], chosen: torch.Tensor | None = None) -> torch.Tensor:
        """Compute entropies `(B, T)` of a rollout batch, in nats, under the policy that wrote it; of the chosen tokens.

        Without dropout, which was off too when the answers were written, and would draw other tokens at every call.
        """
        # Pixel values and the like are in the batch under the names that the scoring function takes them by.
        names = inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters
        multimodal = {name: batch[name] for name in names if name in batch}
        args, training = self.args, self.model.training
        without_checkpointing = disable_gradient_checkpointing(self.model, args.gradient_checkpointing_kwargs)
        self.model.eval()
        with torch.no_grad(), without_checkpointing, self._scoring(None, chosen):
            _, entropies, _ = self._get_per_token_logps_and_entropies(
                self.model,
                torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
                torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                batch["completion_ids"].size(1),
                batch_size=args.per_device_train_batch_size if training else args.per_device_eval_batch_size,
                compute_entropy=True,
                **multimodal,
            )
        self.model.train(training)
        return entropies

    # Dynamic sampling --------------------------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset=None):
        return ResumableSampler(super()._get_train_sampler(dataset), lambda: int(self.state.epoch or 0))

    def _generate(self, prompts):
        if self._tape.played is not None:
            return self._tape.played
        generated = super()._generate(prompts)
        if self._tape.is_recording:
            self._tape.prompts, self._tape.generated = prompts, generated
        return generated

    def _calculate_rewards(self, inputs, *args):
        rewards_per_func = self._tape.played_rewards
        if rewards_per_func is None:
            rewards_per_func = super()._calculate_rewards(inputs, *args)
        self._rewards_per_func = rewards_per_func
        self._useful_groups = find_informative_groups(
            rewards_per_func, self.reward_weights, self._group_size, self.multi_objective_aggregation
        )
        if self._tape.is_recording:
            self._tape.rewards_per_func = rewards_per_func
            raise StopAfterRewards
        return rewards_per_func

    def _fill_rollout(self) -> FilledRollout:
        """Generate until every group of the rollout batch teaches."""

        def answer_rows(rows: list[dict[str, Any]]) -> tuple[list[Answer], torch.Tensor, torch.Tensor]:
            answers = self._tape.record(self, rows, super(ForkingGRPOTrainer, self)._generate_and_score_completions)
            return answers, self._tape.rewards_per_func, self._useful_groups

        metrics = self._metrics["train"]
        lengths = {name: len(values) for name, values in metrics.items()}
        rollout = cast(DynamicSampler, self._sampler).fill(answer_rows)
        for name, values in metrics.items():  # TRL's own stay those of the first round, as without dynamic sampling
            del values[lengths.get(name, 0) + 1 :]
        rollout.record_metrics(metrics, self.reward_weights)
        if not rollout.is_full:
            logger.warning_once(
                "Dynamic sampling ran out of rounds or prompts: groups with equal rewards are left, which train nothing. "
                "Choose prompts of middling difficulty, or raise num_generations or dynamic_sampling_max_rounds. (Said "
                "once; forking/informative_groups and forking/sampling_rounds show how often.)"
            )
        return rollout

    def training_step(self, model, inputs, num_items_in_batch):
        loss = super().training_step(model, inputs, num_items_in_batch)
        is_step_done = self._is_rollout_trained and self.accelerator.sync_gradients
        if self._sampler is not None and self._sampler.is_exhausted and is_step_done:
            self.state.max_steps = self.state.global_step + 1  # the step is the last, with all that belongs to it
        return loss

    def _run_epoch(self, *args, **kwargs):
        if self._sampler is not None and self._sampler.is_exhausted and self._is_rollout_trained:
            self.control.should_training_stop = True  # a run that was at its end already
        else:
            super()._run_epoch(*args, **kwargs)

    # Resume ------------------------------------------------------------------------------------------------------------

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        checkpoint = resolve_checkpoint(resume_from_checkpoint, self.args.output_dir)
        if self._sampler is not None:
            self._sampler.stream.restart()
        self._token_counts, self._resumed_at = TokenCounts(), []
        output = super().train(checkpoint, *args, **kwargs)
        if self.is_world_process_zero():
            with warning_of_failure():
                record_run(self)
        return output

    def _save_checkpoint(self, model, trial):
        if self.args.should_save:
            mark_incomplete(f"{self._get_output_dir(trial=trial)}/checkpoint-{self.state.global_step}")
        super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        save_progress(self, output_dir)
        self.accelerator.wait_for_everyone()  # what is written next marks the checkpoint as complete

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            load_progress(self, checkpoint)

    # Selection ---------------------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs):
        if self._sampler is None or self._mode == "eval":
            return self._complete_rollout(inputs)
        rollout = self._fill_rollout()
        with self._tape.playing(self, rollout.answers, rollout.rewards_per_func):
            return self._complete_rollout([answer.inputs for answer in rollout.answers])

    def _complete_rollout(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Make a rollout batch as TRL does, and add entropies and kept tokens to it."""
        seen: list[torch.Tensor] = []
        # Where TRL scores the rollout itself, its entropies are taken. With a KL term the pass it makes may be that of
        # the reference model; then, and where it makes none, the rollout is scored here.
        # Its pass has dropout on, which would choose other tokens than the policy that wrote the answers.
        takes_seen = self.beta == 0.0 and not (self.model.training and has_dropout(self.model))
        with self._scoring((lambda _, entropies: seen.append(entropies)) if takes_seen else None):
            batch = super()._generate_and_score_completions(inputs)
        num_rows = len(batch["completion_ids"])
        first_row = self.accelerator.process_index * num_rows
        batch["row_ids"] = torch.arange(first_row, first_row + num_rows, device=batch["completion_ids"].device)
        if self.args.drops_tokens or self._sampler is not None:
            # Equal rewards can differ from their mean in the last bit, and TRL would train on that.
            teaches = self._useful_groups.repeat_interleave(self._group_size).to(batch["row_ids"].device)
            batch["advantages"] = batch["advantages"] * teaches[batch["row_ids"]]
        chooses_now = self.args.drops_tokens and self.args.selection_scope != "micro_batch"
        watches = self.on_rollout is not None and self._mode == "train"
        if chooses_now or self.args.log_entropy or watches:
            if seen:
                entropies = seen[0]
            else:  # what competes for the budget is all that has to be known, unless all is to be written
                only_counted = self._is_sparse and not self.args.log_entropy and not watches
                entropies = self._score_rollout(batch, chosen=self._get_counted(batch) if only_counted else None)
            batch["entropies"] = entropies
            self._select(batch, round_entropies(entropies))
            if self.args.log_entropy:
                self._log_entropies(batch, entropies)
            if self.on_rollout is not None and watches:
                self.on_rollout(batch, inputs, self._rewards_per_func)
        return batch

    def _get_counted(self, batch: dict[str, Any]) -> torch.Tensor:
        """Return the tokens that compete for the budget, `(B, T)`."""
        mask = _get_loss_mask(batch)
        if not self.args.drops_tokens or self.args.count_zero_advantage:
            return mask
        return mask & (batch["advantages"] != 0).unsqueeze(1)

    def _select(self, batch: dict[str, Any], entropies: torch.Tensor) -> None:
        """Choose the kept tokens of a batch, all ranks together, and note them in it."""
        args, mask, counted = self.args, _get_loss_mask(batch), self._get_counted(batch)
        check_entropies(batch, torch.isnan(entropies) & counted, self._tokenizer, self.state.global_step, self._reduce)
        per_sequence = args.selection_scope == "sequence"
        choice = {
            "top_entropy_quantile": args.top_entropy_quantile,
            "token_selection": args.token_selection,
            "row_ids": batch["row_ids"],
            "seed": args.seed * 1_000_003 + self.state.global_step,  # `random` draws anew in every rollout
        }
        if per_sequence:
            kept = select_tokens_per_sequence(entropies, counted, **choice)
        else:
            kept = select_tokens(entropies, counted, **choice, reduce=self._reduce)
        num_tokens, num_kept = self._reduce(torch.stack([mask.count_nonzero(), kept.count_nonzero()])).tolist()
        if not num_kept and self._mode == "train":
            logger.warning(
                f"Step {self.state.global_step}: no token counts, because the advantage of every answer is zero or the "
                "answer is masked. The step trains on nothing and training goes on."
            )
        if args.drops_tokens and self._mode == "train":
            size = max(len(self._tokenizer), self.model.config.get_text_config().vocab_size)
            self._token_counts.add(batch["completion_ids"], counted, kept, size, self._reduce)
        batch["kept"], batch["counted"] = kept, counted
        batch["batch_weight"] = torch.tensor(max(num_tokens, 1) / max(num_kept, 1), device=kept.device)
        self._selection_metrics[self._mode] = compute_selection_metrics(
            entropies, mask, counted, kept, args.top_entropy_quantile, per_sequence, self._reduce
        )

    def _reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(tensor, reduction="sum")

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

    @property
    def _is_rollout_trained(self) -> bool:
        return self._step % (self.args.steps_per_generation * self.num_iterations) == 0

    @property
    def _group_size(self) -> int:
        return self.num_generations if self._mode == "train" else self.num_generations_eval

    # Loss --------------------------------------------------------------------------------------------------------------

    def _compute_loss(self, model, inputs):
        mask, inputs = _get_loss_mask(inputs), dict(inputs)  # a copy: TRL reuses the buffered one
        if "kept" in inputs:
            self._mask_advantages(inputs)

        def observe(per_token_logps: torch.Tensor, entropies: torch.Tensor) -> None:
            inputs["per_token_logps"] = per_token_logps
            if "kept" not in inputs:  # TRL reads the advantages only after this pass
                self._select(inputs, entropies)
                self._mask_advantages(inputs)
            if not self._is_sparse:
                inputs["entropies"] = entropies

        with self._scoring(observe, chosen=inputs["kept"] if self._is_sparse else None):
            loss = super()._compute_loss(model, inputs)
        self._log_selection(inputs, mask)
        return loss

    def _mask_advantages(self, inputs: dict[str, Any]) -> None:
        """Turn the advantage of an answer into one per token, `(B, T)`: zero on dropped tokens, weighted on kept ones."""
        if not self.args.drops_tokens:
            return
        mask, kept = _get_loss_mask(inputs), inputs["kept"]
        divided_by = mask
        if self.importance_sampling_level == "sequence":
            # TRL takes the mean log-ratio over this mask. Narrowed to the kept tokens it sends no gradient to others.
            inputs["tool_mask"] = kept.to(inputs["completion_mask"].dtype)
            divided_by = kept
        keeps_count = self.args.loss_normalizer == "kept"
        weights = compute_loss_weights(
            divided_by,
            kept if keeps_count else mask,
            NORMALIZER_EXTENT[self.loss_type],
            inputs["batch_weight"].item() if keeps_count else 1.0,
        )
        inputs["advantages"] = inputs["advantages"].unsqueeze(1) * kept * weights
        if "importance_sampling_ratio" in inputs and self.loss_type != "vespo":  # which takes no product with it
            # Without an upper bound the ratio to vLLM's probability can be infinite, and times an advantage of 0 NaN.
            inputs["importance_sampling_ratio"] = torch.where(kept, inputs["importance_sampling_ratio"], 1.0)
        if self._is_sparse and "old_per_token_logps" in inputs:
            # Tokens that are not scored come back with 0. Against their old value the ratio could overflow, and
            # infinity times an advantage of 0 is NaN; against 0 it is 1.
            inputs["old_per_token_logps"] = inputs["old_per_token_logps"].masked_fill(~kept, 0.0)

    # Records -----------------------------------------------------------------------------------------------------------

    def _log_selection(self, inputs: dict[str, Any], mask: torch.Tensor) -> None:
        kept, logps, counted = inputs["kept"], inputs["per_token_logps"], inputs["counted"]
        advantages = inputs["advantages"] if self.args.drops_tokens else inputs["advantages"].unsqueeze(1)
        log_ratio = logps - inputs.get("old_per_token_logps", logps)
        if self.importance_sampling_level == "sequence":
            log_ratio = (log_ratio * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1)
        clipped = kept & find_clipped(log_ratio.exp(), advantages, self.epsilon_low, self.epsilon_high, self.loss_type)
        sums = [clipped.sum(), kept.sum(), mask.sum(), counted.sum(), inputs["entropies"][counted].sum()]
        totals = self._reduce(torch.stack([value.float() for value in sums])).tolist()
        num_clipped, num_kept, num_tokens, num_counted, entropy_sum = totals
        metrics = self._metrics[self._mode]
        for name, value in self._selection_metrics[self._mode].items():
            metrics[f"forking/{name}"].append(value)
        # A micro-batch without such tokens has no share and no mean; TRL leaves NaN out of its averages.
        metrics["forking/clip_fraction"].append(num_clipped / num_kept if num_kept else math.nan)
        if self.args.drops_tokens:
            metrics["entropy"][-1] = entropy_sum / num_counted if num_counted else math.nan
            is_narrowed = self.importance_sampling_level == "sequence"
            correct_clip_ratios(metrics, 1.0 if is_narrowed else num_tokens / num_kept if num_kept else math.nan)

    def _log_entropies(self, batch: dict[str, Any], entropies: torch.Tensor) -> None:
        columns = build_entropy_columns(
            batch["completion_ids"], batch["completion_mask"], entropies, batch["kept"], self._tokenizer
        )
        for name, values in columns.items():
            self._logs["extra"][name].extend(gather_object(values))

    def create_model_card(self, model_name=None, dataset_name=None, tags=None, example_prompt=None):
        """Make the card in `output_dir`, with an example prompt for its quick start; see [`create_card`]."""
        if self.is_world_process_zero():
            names = {"model_name": model_name, "dataset_name": dataset_name, "tags": tags}
            with warning_of_failure():
                create_card(self, **names, example_prompt=example_prompt)

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        if output_dir in (None, self.args.output_dir):
            self.create_model_card()  # PEFT has written into the metadata of the one that was there


def _get_loss_mask(batch: dict[str, Any]) -> torch.Tensor:
    """Return the completion tokens that carry loss, `(B, T)`: no padding, tool output or masked truncated answer."""
    mask = batch["completion_mask"]
    return (mask * batch["tool_mask"] if "tool_mask" in batch else mask).bool()
