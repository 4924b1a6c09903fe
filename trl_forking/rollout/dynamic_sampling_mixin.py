"""Dynamic sampling in the trainer: rounds are recorded, and the filled batch is played back to TRL as one rollout."""

from functools import partial
from typing import Any

import torch
from accelerate.logging import get_logger

from ..update.scoring import ScoringMixin, ScoringRequest
from .callback import Rollout
from .dynamic_sampling import DynamicSampler, FilledRollout
from .generated_tokens import GeneratedTokensMixin
from .groups import find_informative_groups
from .prompt_stream import PromptStreamCallback, ResumableSampler
from .repetition import compute_repeated_share, digest_answers
from .sampled_entropies import SampledEntropiesMixin
from .tape import Answer, RolloutTape


logger = get_logger(__name__)


class DynamicSamplingMixin(ScoringMixin, SampledEntropiesMixin, GeneratedTokensMixin):
    """Makes rollouts as [`~trl.GRPOTrainer`] does, and with `dynamic_sampling=True` of informative groups."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._tape = RolloutTape()
        self._sampler = DynamicSampler.from_trainer(self) if self.args.dynamic_sampling else None
        self._follow_stream()

    # Rollouts ------------------------------------------------------------------------------------------------------------

    def make_rollout(self, inputs: list[dict[str, Any]]) -> Rollout:
        """
        Make a rollout batch.

        Args:
            inputs (`list[dict]`):
                Rows of the data set, one for each answer of this rank. Dynamic sampling draws its own in training.

        Returns:
            [`Rollout`]: TRL's batch, the rows that were answered and the rewards.
        """
        if self._sampler is None or not self.model.training:
            return self._roll_out(inputs)
        filled = self._fill_rollout(self._sampler)
        with self._tape.playing(self, filled.answers, filled.rewards_per_func):
            return self._roll_out([answer.inputs for answer in filled.answers])

    def _roll_out(self, inputs: list[dict[str, Any]]) -> Rollout:
        with self._tape.listening() as heard:
            batch = super()._generate_and_score_completions(inputs)
        num_rows = len(batch["completion_ids"])
        first_row = self.accelerator.process_index * num_rows
        batch["row_ids"] = torch.arange(first_row, first_row + num_rows, device=batch["completion_ids"].device)
        entropies = self.join_entropies(heard.entropies, batch["completion_ids"])
        if entropies is not None and entropies.dim() == 2:
            batch["entropies"] = entropies
        elif entropies is not None:
            batch["entropies"], *costly = entropies.unbind(2)
            batch |= {f"costly/{name}": value for name, value in zip(self.needs, costly, strict=True)}
        if self.model.training:
            answers = self.accelerator.gather(digest_answers(batch["completion_ids"], batch["completion_mask"]))
            self.metric_means.add("repeated_answers", compute_repeated_share(answers, self.num_generations))
        return Rollout(batch, inputs, heard.rewards_per_func)

    def _fill_rollout(self, sampler: DynamicSampler) -> FilledRollout:
        """Generate until every group of the rollout batch is informative."""
        roll_out = super()._generate_and_score_completions

        def answer_rows(rows: list[dict[str, Any]]) -> tuple[list[Answer], torch.Tensor, torch.Tensor]:
            with self.request_scores(ScoringRequest(skip=True)):
                answers, rewards_per_func = self._tape.record(self, rows, roll_out)
            return answers, rewards_per_func, self.find_informative_groups(rewards_per_func)

        metrics = self._metrics["train"]
        lengths = {name: len(values) for name, values in metrics.items()}
        filled = sampler.fill(answer_rows)
        for name, values in metrics.items():  # TRL's own stay those of the first round, as without dynamic sampling
            del values[lengths.get(name, 0) + 1 :]
        for name, value in filled.metrics.items():
            self.metric_means.add(name, value)
        self.metric_means.add("sampled_reward", filled.compute_sampled_reward(self.reward_weights))
        self.metric_means.replace("prompts_consumed", sampler.count_consumed())
        if not filled.is_full:
            logger.warning_once(
                "Dynamic sampling ran out of rounds or prompts: groups with equal rewards are left, which train nothing. "
                "Choose prompts of middling difficulty, or raise num_generations or dynamic_sampling_max_rounds. (Said "
                "once; forking/informative_groups and forking/sampling_rounds show how often.)"
            )
        return filled

    def find_informative_groups(self, rewards_per_func: torch.Tensor) -> torch.Tensor:
        """Find which groups of a rollout of all ranks are informative, `(N,)`; `rewards_per_func` is `(N * G, F)`."""
        size = self.num_generations if self.model.training else self.num_generations_eval
        return find_informative_groups(
            rewards_per_func, self.reward_weights, size, self.multi_objective_aggregation, self.scale_rewards
        )

    def _generate(self, prompts):
        return self._tape.generate(prompts, partial(self.generate_with_entropies, super()._generate))

    def _calculate_rewards(self, inputs, *args):
        calculate = super()._calculate_rewards
        return self._tape.judge(lambda: calculate(inputs, *args))

    # The stream of prompts -------------------------------------------------------------------------------------------

    @property
    def is_rollout_trained(self) -> bool:
        """Whether every step of the newest rollout is done."""
        return self._step % (self.args.steps_per_generation * self.num_iterations) == 0

    def _is_stream_used_up(self) -> bool:
        return self._sampler is not None and self._sampler.is_exhausted and self.is_rollout_trained

    def _get_train_sampler(self, dataset=None):
        return ResumableSampler(super()._get_train_sampler(dataset), lambda: int(self.state.epoch or 0))

    def _follow_stream(self) -> None:
        """Let the stream of prompts be saved, taken up again, and end the training."""
        if self._sampler is None:
            return
        self.remove_callback(PromptStreamCallback)
        # In front of Transformers' own callback, which looks after a step whether it was the last.
        callback = PromptStreamCallback(self._sampler.stream, self._is_stream_used_up)
        self.callback_handler.callbacks.insert(0, callback)

    def _load_callback_state(self):
        super()._load_callback_state()
        self._follow_stream()  # restore_callback_states_from_checkpoint puts another callback in the place of ours

    def _run_epoch(self, *args, **kwargs):
        if self._is_stream_used_up():
            self.control.should_training_stop = True  # a run that was at its end already
        else:
            super()._run_epoch(*args, **kwargs)
