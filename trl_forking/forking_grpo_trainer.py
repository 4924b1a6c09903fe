"""GRPO on forking tokens: TRL's trainer with per-token advantages."""

import copy
import inspect
import textwrap
from typing import Any, cast

import torch
from accelerate.logging import get_logger
from accelerate.utils import gather_object
from trl import GRPOTrainer
from trl.trainer.utils import get_config_model_id

from .card.card_mixin import CardMixin
from .evaluation.during_training import EvaluationMixin
from .forking_grpo_config import ForkingGRPOConfig
from .hub.push import PushMixin, prepare_push
from .rollout.callback import Rollout, RolloutCallback
from .rollout.dynamic_sampling_mixin import DynamicSamplingMixin
from .run.checks import (
    check_entropies,
    check_fused_head,
    check_num_prompts,
    check_prompt_column,
    check_trainable,
    find_idle_settings,
)
from .run.completions_table import CompletionsWriter, build_entropy_columns
from .run.lengths import check_dataset_lengths
from .run.live_settings import LiveSettingsMixin
from .run.model_fixes import keep_4_bit_weights, make_bias_finite
from .run.model_parts import has_dropout
from .run.prompt_checks import PromptCheckMixin
from .run.resume import ResumeMixin
from .run.reward_checks import RewardCheckMixin, check_rewards
from .run.schedule import check_schedule
from .selection.metrics import correct_clip_ratios
from .selection.rules import RULES, Rule, RuleFunction, find_rule
from .selection.token_selector import Moment, Selection, TokenSelector, get_loss_mask
from .selection.tokens import round_entropies
from .update.micro_batch_facts import MicroBatchFacts, weigh_metric, weigh_newest
from .update.micro_batch_mixin import MicroBatchMixin
from .update.scoring import ScoringRequest
from .update.sparse_update import find_obstacle, find_prompt_learning
from .update.token_terms import clip_by_token, restrict_kl, set_clip_ranges


logger = get_logger(__name__)


class ForkingGRPOTrainer(
    CardMixin,
    ResumeMixin,
    PushMixin,
    EvaluationMixin,
    MicroBatchMixin,
    DynamicSamplingMixin,
    RewardCheckMixin,
    PromptCheckMixin,
    LiveSettingsMixin,
):
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
        token_rule (`Callable` or `str`, *optional*):
            Your own rule `(TokenStats) -> TokenPlan`, its import path or the name of a built-in rule, in place of
            `args.token_selection`.
        *trainer_args, **trainer_kwargs:
            Everything else that [`~trl.GRPOTrainer`] takes, in its order.

    Raises:
        `TypeError`: if `args` is not a [`ForkingGRPOConfig`].
        `ValueError`: if the dataset has no column `prompt`, a reward function cannot be called as TRL calls it,
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

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: ForkingGRPOConfig | None = None,
        train_dataset: Any = None,
        *trainer_args: Any,
        token_rule: RuleFunction | str | None = None,
        **trainer_kwargs: Any,
    ):
        if args is None:
            model_id = model if isinstance(model, str) else get_config_model_id(model.config)
            args = ForkingGRPOConfig(f"{model_id.split('/')[-1]}-Forking-GRPO")
        self._check_inputs(model, reward_funcs, args, train_dataset, *trainer_args, **trainer_kwargs)
        self._own_rule, args = _take_rule(token_rule, args)
        super().__init__(model, reward_funcs, args, train_dataset, *trainer_args, **trainer_kwargs)
        check_fused_head(self.model)
        check_trainable(self.model)
        if self.environment_factories is None and self.rollout_func is None:
            check_dataset_lengths(self.train_dataset, self._tokenizer, args, self.model.config)
        make_bias_finite(self.model)
        keep_4_bit_weights(self.model)
        from .run.score_check import check_scores  # it costs time that an import of the trainer need not take

        check_scores(self)
        self.check_fork_path()
        self.add_callback(CompletionsWriter(self))
        self.top_entropy_quantile = 1.0  # the advantages carry the mask; TRL's own must not apply a second one
        self.selector = TokenSelector(self.rollout_settings, self._reduce, self._own_rule)
        for text in find_idle_settings(args):
            logger.warning(text)
        self.apply_settings()

    def apply_settings(self) -> None:
        """Choose which tokens are kept and computed, by the settings of the rollout under way."""
        super().apply_settings()
        settings = self.selector.settings = self.rollout_settings
        self.selector.rule = self._own_rule or find_rule(settings.token_rule or settings.token_selection)
        self.widen_head(self.needs)
        sends_through_forks = settings.gradient_path == "forks"  # its pass comes after the selection
        obstacle = None if sends_through_forks else find_obstacle(settings, self.model, self.aux_loss_enabled)
        wants_sparse = settings.sparse_update and (settings.drops_tokens or sends_through_forks)
        self._is_sparse = wants_sparse and obstacle is None
        self.leaves_out_padding = settings.sparse_update and find_prompt_learning(self.model) is None
        if wants_sparse and obstacle is not None:
            logger.warning(f"All tokens are computed, because {obstacle}.")

    def _check_inputs(self, *args: Any, **kwargs: Any) -> None:
        """Check what can be checked before the model is loaded."""
        passed = inspect.signature(GRPOTrainer.__init__).bind(self, *args, **kwargs).arguments
        if not isinstance(passed["args"], ForkingGRPOConfig):
            raise TypeError(
                f"args must be a ForkingGRPOConfig, but it is a {type(passed['args']).__name__}: pass the same settings "
                "to ForkingGRPOConfig instead."
            )
        if passed.get("environment_factory") is None:
            check_prompt_column(passed["train_dataset"], "train_dataset")
            check_prompt_column(passed.get("eval_dataset"), "eval_dataset")
            if passed.get("rollout_func") is None:  # it may add columns that the rewards read
                check_rewards(passed["reward_funcs"], passed["train_dataset"])
        prepare_push(passed["args"])
        check_num_prompts(passed["train_dataset"], passed["args"])
        if (passed.get("optimizers") or (None, None))[1] is None:
            check_schedule(passed["args"])
        if not isinstance(passed["model"], str):
            check_fused_head(passed["model"])

    # From answers to kept tokens -----------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        """Make a rollout batch as TRL does, and add entropies and kept tokens to it."""
        if self.model.training or self.is_rollout_trained:  # an evaluation amid a rollout has the settings of that
            self.take_settings()
        seen: list[torch.Tensor] = []
        # Where TRL scores the rollout itself, the entropies of its pass are used. There are two exceptions. With a KL
        # term that pass may be the reference model's. With dropout it would keep other tokens than the policy would
        # that wrote the answers.
        takes_seen = self.beta == 0.0 and not (self.model.training and has_dropout(self.model))
        note = (lambda _, entropies: seen.append(entropies)) if takes_seen else None
        costly: dict[str, torch.Tensor] = {}
        needs = self.needs if takes_seen else ()
        with self.request_scores(ScoringRequest(receive=note, needs=needs, receive_costly=costly.update)):
            rollout = self.make_rollout(inputs)
        if self.rollout_settings.drops_tokens or self.args.dynamic_sampling:
            self._silence_rounding(rollout)
        self._select_in_rollout(rollout, seen[0] if seen else None, costly)
        return rollout.batch

    def _silence_rounding(self, rollout: Rollout) -> None:
        """Set the advantages of zero-variance groups to zero: equal rewards can differ from their mean in the last bit."""
        batch, groups = rollout.batch, self.find_informative_groups(rollout.rewards_per_func)
        informative = groups.repeat_interleave(len(rollout.rewards_per_func) // len(groups))  # of all ranks' answers
        batch["advantages"] = batch["advantages"] * informative.to(batch["row_ids"].device)[batch["row_ids"]]

    @property
    def _rollout_callbacks(self) -> list[RolloutCallback]:
        if not self.model.training:
            return []
        callbacks = [call for call in self.callback_handler.callbacks if isinstance(call, RolloutCallback)]
        return [call for call in callbacks if call.wants_rollout(self.args, self.state)]

    @property
    def _selects_later(self) -> bool:
        return self.rollout_settings.drops_tokens and self.rollout_settings.selection_scope == "micro_batch"

    @property
    def uses_entropies(self) -> bool:
        """Whether the entropies of a whole rollout are needed, before it is trained."""
        selects = self.rollout_settings.drops_tokens and not self._selects_later
        return bool(selects or self.rollout_settings.log_entropy or self._rollout_callbacks)

    @property
    def needs(self) -> tuple[str, ...]:
        """Statistics that the rule needs beside the entropies."""
        return self.selector.rule.needs if self.rollout_settings.drops_tokens else ()

    def _select_in_rollout(self, rollout: Rollout, seen: torch.Tensor | None, costly: dict[str, torch.Tensor]) -> None:
        """Select the kept tokens of a rollout where its scope allows, and show it to whoever asked to see it."""
        args, batch, callbacks = self.args, rollout.batch, self._rollout_callbacks
        sampled = {name: batch.pop(f"costly/{name}") for name in self.needs if f"costly/{name}" in batch}
        if not self.uses_entropies:
            return
        entropies = batch.get("entropies") if seen is None else seen
        costly = sampled if seen is None else costly
        if entropies is None:
            # The counted tokens are all that has to be known, unless all tokens are shown.
            shows_all = bool(self.rollout_settings.log_entropy or callbacks)
            only = self.selector.find_counted(batch) if self._is_sparse and not shows_all else None
            with self.request_scores(ScoringRequest(needs=self.needs, receive_costly=costly.update)):
                entropies = self.score_and_keep_states(batch, only)
        batch["entropies"] = entropies
        if not self._selects_later:
            rounded = {
                name: value if value.dtype == torch.bool else round_entropies(value) for name, value in costly.items()
            }
            self._select(batch, round_entropies(entropies), rounded).write_to(batch)
            self.forget_states(batch, batch["kept"])
        if self.rollout_settings.log_entropy:
            self._log_entropies(batch)
        for callback in callbacks:
            callback.on_rollout(args, self.state, self.control, rollout=rollout)

    def _select(self, batch: dict[str, Any], entropies: torch.Tensor, costly: dict[str, torch.Tensor]) -> Selection:
        """Select the kept tokens of a batch, all ranks together."""
        counted, step = self.selector.find_counted(batch), self.state.global_step
        check_entropies(batch, torch.isnan(entropies) & counted, self._tokenizer, step, self._reduce)
        # Another seed at every step: `random` draws anew in every rollout.
        size = self.num_generations if self.model.training else self.num_generations_eval
        moment = Moment(step, self.state.max_steps, size, costly)
        selection = self.selector.select(batch, entropies, self.args.seed * 1_000_003 + step, moment)
        if not self.model.training:
            return selection
        if selection.num_kept == 0:
            logger.warning(
                f"Step {step}: no token counts, because the advantage of every answer is zero or the answer is masked. "
                "The step trains on nothing and training goes on."
            )
        if self.rollout_settings.drops_tokens:
            vocabulary_size = max(len(self._tokenizer), self.model.config.get_text_config().vocab_size)
            self.selector.count(batch["completion_ids"], selection, vocabulary_size)
        return selection

    def _reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.accelerator.reduce(tensor, reduction="sum")

    # From kept tokens to the loss ----------------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Give TRL's loss an advantage for every token, zero on dropped ones."""
        mask, inputs = get_loss_mask(inputs), dict(inputs)  # a copy: TRL reuses the buffered one
        scores: list[torch.Tensor] = []
        costly: dict[str, torch.Tensor] = {}
        selection = Selection.read_from(inputs)
        if self.takes_forks and self._selects_later:
            with self.request_scores(ScoringRequest(needs=self.needs, receive_costly=costly.update)):
                inputs["entropies"] = self.score_and_keep_states(inputs)
            selection = self._select(inputs, inputs["entropies"], costly)
        only = None if not self._is_sparse else mask if selection is None else selection.kept
        if selection is not None:
            inputs.update(self.selector.weigh(inputs, selection, scores_dropped=not self._is_sparse))
        elif only is not None and "old_per_token_logps" in inputs:  # as `weigh` does, where nothing is dropped
            inputs["old_per_token_logps"] = inputs["old_per_token_logps"].masked_fill(~only, 0.0)

        def receive(per_token_logps: torch.Tensor, entropies: torch.Tensor) -> None:
            nonlocal selection
            scores[:] = [per_token_logps, entropies]
            if selection is None:  # TRL reads the advantages only after this pass
                selection = self._select(inputs, entropies, costly)
                inputs.update(self.selector.weigh(inputs, selection))
                set_clip_ranges(self, selection)
            kl_tokens = self.rollout_settings.kl_tokens
            if kl_tokens is not None:  # TRL reads the reference after this pass too
                reference = inputs["ref_per_token_logps"]
                inputs["ref_per_token_logps"] = restrict_kl(reference, per_token_logps, kl_tokens, selection)

        kind = None if only is None or not self.takes_forks else self.find_fork_pass(inputs, only)
        needs = self.needs if selection is None else ()
        request = ScoringRequest(only=only, receive=receive, needs=needs, receive_costly=costly.update, kind=kind)
        with self.request_scores(request), clip_by_token(self, selection):
            loss = super()._compute_loss(model, inputs)
        facts = MicroBatchFacts.read_from(inputs)  # an evaluation has none
        per_token_logps, entropies = scores
        entropies = inputs.get("entropies", entropies) if self._is_sparse else entropies
        self._log_loss(inputs, cast(Selection, selection), per_token_logps, entropies, mask, facts)
        return loss if facts is None else loss * facts.loss_scale

    # Records -------------------------------------------------------------------------------------------------------------

    def _log_loss(
        self,
        inputs: dict[str, Any],
        selection: Selection,
        per_token_logps: torch.Tensor,
        entropies: torch.Tensor,
        mask: torch.Tensor,
        facts: MicroBatchFacts | None,
    ) -> None:
        of_loss = self.selector.compute_loss_metrics(inputs, selection, per_token_logps, entropies, mask)
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, value in selection.metrics.items():
            self.metric_means.add(name, value)
        clip_fraction = of_loss.clip_fraction  # NaN in a micro-batch without kept tokens, and left out of the averages
        if self.rollout_settings.drops_tokens:
            metrics["entropy"][-1] = of_loss.entropy
            is_narrowed = self.importance_sampling_level == "sequence"
            correct_clip_ratios(metrics, 1.0 if is_narrowed else of_loss.tokens_per_kept)
        if facts is not None:
            weigh_newest(metrics, facts, self.rollout_settings.drops_tokens, self.importance_sampling_level)
            clip_fraction = weigh_metric(clip_fraction, facts.kept_weight)
            self.metric_means.add("padding_share", facts.padding_share)
            self.metric_means.add("rank_imbalance", facts.rank_imbalance)
        self.metric_means.add("clip_fraction", clip_fraction)

    def _log_entropies(self, batch: dict[str, Any]) -> None:
        """Add columns to the table of logged completions."""
        columns = build_entropy_columns(
            batch["completion_ids"], batch["completion_mask"], batch["entropies"], batch["kept"], self._tokenizer
        )
        for name, values in columns.items():
            self._logs["extra"][name].extend(gather_object(values))


def _take_rule(
    token_rule: RuleFunction | str | None, args: ForkingGRPOConfig
) -> tuple[Rule | None, ForkingGRPOConfig]:
    """Return a user's own function as a rule, and settings that name what was passed, for records and checks."""
    if token_rule is None:
        return None, args
    if args.token_rule is not None:
        raise ValueError(
            f"A rule was passed as the argument token_rule, and the settings have token_rule={args.token_rule!r}: pass one of "
            "the two."
        )
    rule, args = find_rule(token_rule), copy.copy(args)
    if rule.name in RULES:
        args.token_selection = rule.name
    else:
        args.token_rule = token_rule if isinstance(token_rule, str) else rule.name
    args.check()
    return (None if isinstance(token_rule, str) or rule.name in RULES else rule), args
