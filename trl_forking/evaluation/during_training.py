"""avg@k of an evaluation in training, with its interval: over the whole evaluation set, all processes together."""

import math
from itertools import chain
from typing import Any

import torch
from trl import GRPOTrainer

from .bootstrap import estimate_mean
from .metrics import compute_average


def compute_evaluation_metrics(
    rewards: torch.Tensor, num_generations: int, num_problems: int | None = None
) -> dict[str, float | None]:
    """
    Compute avg@k of an evaluation and its 95 % interval by bootstrap over problems.

    Where all problems have the same mean, the interval is that of [`bound_equal_values`], because the bootstrap would claim
    certainty; for rewards outside of 0 and 1 there is none.

    Args:
        rewards (`torch.Tensor` of shape `(N,)`):
            Rewards of all answers, the `k` answers to a problem one after the other; NaN for an answer without a reward,
            which has no part.
        num_generations (`int`):
            Answers to each problem, `k`.
        num_problems (`int`, *optional*):
            Size of the evaluation set. Several processes fill their last batches with the first problems again; what
            comes after this many problems is left out.

    Returns:
        `dict[str, float | None]`: `avg@k`, `avg@k_low`, `avg@k_high`, and `problems`, the number of problems with a
        reward. `None` for a number that does not exist.

    Example:
    ```python
    >>> rewards = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0])  # four problems, two answers to each
    >>> metrics = compute_evaluation_metrics(rewards, num_generations=2)
    >>> metrics["avg@2"], metrics["problems"], metrics["avg@2_low"] < 0.5 < metrics["avg@2_high"]
    (0.5, 4.0, True)
    ```
    """
    answers = rewards.double().cpu().view(-1, num_generations)[:num_problems].tolist()
    groups = [[reward for reward in group if not math.isnan(reward)] for group in answers]
    averages, known = [compute_average(group) for group in groups], chain.from_iterable(groups)
    found = estimate_mean(averages, bounds=(0.0, 1.0) if all(0 <= reward <= 1 for reward in known) else None)
    name = f"avg@{num_generations}"
    numbers = {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
    return {key: None if math.isnan(value) else value for key, value in numbers.items()} | {
        "problems": float(found.num_problems)
    }


class EvaluationMixin(GRPOTrainer):
    """
    Logs avg@k of each evaluation, `k` being `num_generations_eval`, as `eval_forking/avg@k`.

    The rewards are those of the first reward function, which is the verifier where there are several.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self._evaluated: list[torch.Tensor] = []
        super().__init__(*args, **kwargs)

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        self._evaluated.clear()
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        if self._evaluated:
            size = len(dataloader.dataset) if hasattr(dataloader.dataset, "__len__") else None
            numbers = compute_evaluation_metrics(torch.cat(self._evaluated), self.num_generations_eval, size)
            prefix = f"{kwargs.get('metric_key_prefix', 'eval')}_forking/"
            output.metrics.update({prefix + name: value for name, value in numbers.items()})
            self._evaluated.clear()
        return output

    def _calculate_rewards(self, inputs: Any, *args: Any) -> torch.Tensor:
        rewards_per_func: torch.Tensor = super()._calculate_rewards(
            inputs, *args
        )  # of all processes, in the order of the data
        if not self.model.training:
            self._evaluated.append(rewards_per_func[:, 0].detach().cpu())
        return rewards_per_func
