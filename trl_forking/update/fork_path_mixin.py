"""The fork path in the trainer: which keys and values are at hand, and what the path cannot be combined with."""

import inspect
from typing import TYPE_CHECKING, Any

import torch

from ..forking_grpo_config import ForkingGRPOConfig
from ..run.model_parts import find_backbone, get_causal_model, has_dropout
from .positions import ATTENTION_LAYERS, depends_on_length, find_layer_types, sees_distances_only, takes_positions
from .scoring import ScoringMixin, ScoringRequest
from .sparse_update import find_prompt_learning, find_spans


# The rest of the fork path is imported by a run that takes it: it would make the import of the trainer a tenth slower.
if TYPE_CHECKING:
    from .fork_path import ForkPass
    from .fork_states import ForkStates, Recording, StatesStore


def find_fork_obstacle(model: torch.nn.Module, aux_loss_enabled: bool) -> str | None:
    """
    Say why a gradient cannot go through forks alone in a model.

    Args:
        model (`torch.nn.Module`):
            Model or PEFT model.
        aux_loss_enabled (`bool`):
            Whether the loss has the router term of a mixture of experts.

    Returns:
        `str` or `None`: the reason, as the rest of a sentence that begins with "because"; `None` if there is none.

    Example:
    ```python
    >>> from transformers import MambaConfig, MambaForCausalLM
    >>> from trl_forking.countdown import load_countdown_model
    >>> find_fork_obstacle(load_countdown_model(), aux_loss_enabled=False) is None
    True
    >>> mamba = MambaForCausalLM(MambaConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1))
    >>> find_fork_obstacle(mamba, aux_loss_enabled=False)
    'MambaForCausalLM has layers other than attention with keys and values (...)'
    ```
    """
    from .fork_path import MASKED_ATTENTION

    causal_model = get_causal_model(model)
    name, config = type(causal_model).__name__, causal_model.config.get_text_config()
    other = sorted(set(find_layer_types(config)) - ATTENTION_LAYERS - {"chunked_attention"})
    if not other and getattr(causal_model, "_is_stateful", False):
        other = ["of a kind that its configuration does not name"]
    stateful = {
        type(part).__name__ for part in model.modules() if any(isinstance(m, torch.nn.Conv1d) for m in part.children())
    }
    if other or stateful:
        kinds = ", ".join(other or sorted(stateful))
        return f"{name} has layers other than attention with keys and values ({kinds})"
    if aux_loss_enabled:
        return "the router loss of a mixture of experts is taken over all tokens"
    attention = config._attn_implementation
    if attention not in MASKED_ATTENTION:
        return (
            f"attn_implementation={attention!r} takes no mask that says which keys each position sees (load the model with "
            "attn_implementation='sdpa')"
        )
    if depends_on_length(causal_model.config):
        return f"the rotary embeddings of {name} depend on the length of the row (rope_type 'dynamic' or 'longrope')"
    takes_cache = "past_key_values" in inspect.signature(find_backbone(causal_model).forward).parameters
    if not takes_positions(model) or not takes_cache:
        return f"{name} does not take position_ids and past_key_values from its caller"
    return find_prompt_learning(model)


class ForkPathMixin(ScoringMixin):
    """Sends the gradient of [`~trl.GRPOTrainer`] through forks alone."""

    args: ForkingGRPOConfig
    _states_store: "StatesStore"

    @property
    def takes_forks(self) -> bool:
        """Whether the pass that is about to be made sends its gradient through forks alone."""
        return self.args.gradient_path == "forks" and torch.is_grad_enabled()

    def check_fork_path(self) -> None:
        """
        Refuse a model through which no gradient can go through forks alone.

        Raises:
            `ValueError`: with the reason.
        """
        if self.args.gradient_path != "forks":
            return
        from .fork_check import REMEDY, check_fork_values
        from .fork_states import StatesStore

        self._states_store = StatesStore()
        obstacle = find_fork_obstacle(self.model, self.aux_loss_enabled)
        if obstacle is not None:
            raise ValueError(f"gradient_path='forks' cannot train this model, because {obstacle}: {REMEDY}.")
        check_fork_values(self)

    def score_and_keep_states(self, batch: dict[str, Any], only: torch.Tensor | None = None) -> torch.Tensor:
        """
        Compute entropies as [`score_rollout`] does, and keep the keys and values of the pass if the memory allows.

        They serve until the weights change. With dropout, and in a model whose rows do not move, none are kept.

        Args:
            batch (`dict`):
                Rollout batch or micro-batch of this rank.
            only (`torch.Tensor` of shape `(B, T)`, *optional*):
                Tokens to score.

        Returns:
            `torch.Tensor` of shape `(B, T)`: entropies in nats.
        """
        keeps = self.args.gradient_path == "forks" and self.model.training and not has_dropout(self.model)
        if not keeps or not sees_distances_only(self.accelerator.unwrap_model(self.model)):
            return self.score_rollout(batch, only)
        from .fork_path import RecordingPass

        attention_mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        first, end = find_spans(attention_mask, (batch["completion_mask"] if only is None else only).bool())
        self._states_store.begin(self.state.global_step, int((end - first).sum()))
        return self.score_rollout(batch, only, RecordingPass(self._states_store.add, batch["row_ids"]))

    def forget_states(self, batch: dict[str, Any], kept: torch.Tensor) -> None:
        """Let go of the keys and values of answers without a kept token; `kept` is `(B, T)`, of the whole rollout."""
        if self.args.gradient_path == "forks":
            self._states_store.keep_only(batch["row_ids"][kept.any(1)].tolist())

    def _keeps_states(self) -> bool:
        """Return whether all processes have keys and values of the rollout, the same on all of them."""
        if self.args.gradient_path != "forks":
            return False
        return self._is_true_everywhere(len(self._states_store) > 0)

    def _is_true_everywhere(self, value: bool) -> bool:
        is_false = torch.tensor(int(not value), device=self.accelerator.device)
        return not int(self.accelerator.reduce(is_false, reduction="sum"))

    def find_fork_pass(self, batch: dict[str, Any], kept: torch.Tensor) -> "ForkPass":
        """
        Find the keys and values for a micro-batch, by a pass without gradient if they are not at hand.

        Args:
            batch (`dict`):
                Micro-batch of this rank.
            kept (`torch.Tensor` of shape `(B, T)`):
                Tokens that get a gradient.

        Returns:
            [`ForkPass`]
        """
        from .fork_path import ForkPass, RecordingPass
        from .fork_states import ForkStates

        row_ids, store = batch["row_ids"], self._states_store
        # All processes make the pass, or none.
        if self._is_true_everywhere(store.has(row_ids[kept.any(1)].tolist(), self.state.global_step)):

            def take(rows: torch.Tensor, num_columns: int) -> "tuple[ForkStates, torch.Tensor | None]":
                return store.take(row_ids[rows].tolist(), num_columns) if len(rows) else (ForkStates(), None)

            return ForkPass(self.args.gradient_path_window, take)
        recordings: list[Recording] = []
        record = RecordingPass(recordings.append, row_ids, has_scores=False)
        self.score_without_gradient(batch, ScoringRequest(only=kept, kind=record))
        return ForkPass(self.args.gradient_path_window, lambda rows, num_columns: (recordings[0].states, None))
