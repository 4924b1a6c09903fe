"""The settings of [`ForkingGRPOTrainer`]. Wrong settings are refused before anything is loaded."""

import os
from dataclasses import dataclass, field, fields

from transformers.utils import is_torch_bf16_gpu_available
from trl import GRPOConfig

from .selection.rules import find_rule, is_import_path
from .settings.method_checks import check_settings, drops_tokens, explain_sizes
from .settings.pairs import check_rollout_sizes
from .settings.written_settings import WrittenSettings


@dataclass
class ForkingGRPOConfig(WrittenSettings, GRPOConfig):
    r"""
    Configuration of [`ForkingGRPOTrainer`]: all of TRL's [`GRPOConfig`](https://huggingface.co/docs/trl/grpo_trainer)
    with the objective of [Beyond the 80/20 Rule](https://huggingface.co/papers/2506.01939) as defaults.

    Parameters:
        top_entropy_quantile (`float`, *optional*, defaults to `0.2`):
            Share of the counted tokens in the paper's set, \\( \rho \\), in (0, 1]. `1.0` is plain GRPO, and with
            `sparse_update=False` bit for bit, if `bf16`, `loss_type` and `epsilon_high` are those of TRL's run.
        token_selection (`str`, *optional*, defaults to `"high_entropy"`):
            Which tokens are kept. `"high_entropy"`: the top \\( \rho \\) by entropy, which are the paper's forking
            tokens. `"low_entropy"`: all other tokens. `"random"`: a random set of the same size as the paper's. Ten more
            rules come from other papers: `trl-forking rules` lists them. The import path of a function works too.
        token_rule (`str`, *optional*):
            Import path of your own rule, such as `"my_rules.keep_verbs"`, in place of `token_selection`. A function itself
            goes to the argument `token_rule` of [`ForkingGRPOTrainer`].
        top_entropy_quantile_end (`float`, *optional*):
            Share of the counted tokens at the end of a schedule, in (0, 1]. The share goes from `top_entropy_quantile` to
            this one in a straight line over the first 80 % of the steps. If not set, it never changes.
        kl_tokens (`str`, *optional*):
            Which tokens the KL term of `beta` is on, if tokens are selected. `"all"`: every completion token. `"selected"`:
            kept tokens. `"dropped"`: counted tokens that are not kept. TRL divides it by the number of all tokens.
        selection_scope (`str`, *optional*, defaults to `"batch"`):
            Which tokens share one threshold. `"batch"`: the whole rollout batch, over all processes and accumulation
            steps, with the entropies of the policy that wrote it. `"micro_batch"`: one forward pass over all
            processes, with the entropies of the current policy, as in TRL and the paper's code. `"sequence"`: one
            answer.
        loss_normalizer (`str`, *optional*, defaults to `"kept"`):
            Which tokens the loss divides by. `"kept"`: the number of kept tokens (version 2 of the paper). `"all"`:
            the number of all completion tokens (version 1, TRL). The gradient is then \\( \rho \\) times as large.
        count_zero_advantage (`bool`, *optional*, defaults to `False`):
            Whether tokens whose advantage is exactly zero compete for the budget. Training learns nothing from them,
            so by default zero-variance groups use up nothing of it.
        sparse_update (`bool`, *optional*, defaults to `True`):
            Whether to leave padding and dropped tokens out of the forward and backward pass where the gradient stays the
            same. Otherwise all tokens are computed, and a message says why. `False` also turns the next two fields off:
            the model then gets TRL's tensors, bit for bit.
        balance_micro_batches (`bool`, *optional*, defaults to `True`):
            Whether to deal the answers of an optimizer step to its micro-batches by length, so that little is padded
            and no micro-batch is larger than it has to be. The gradient stays the same. Where the loss depends on the
            split, TRL's micro-batches stay, and a message says why.
        balance_ranks (`bool`, *optional*, defaults to `True`):
            Whether answers of an optimizer step move between processes, once a rollout, so that all processes have as
            much to compute in each micro-batch. It needs `balance_micro_batches=True`.
        max_tokens_per_micro_batch (`int`, *optional*):
            Largest number of tokens of a micro-batch, padding included, as a bound for the memory of the update. If the
            answers do not fit, training ends with an error that says how many micro-batches would do.
        gradient_path (`str`, *optional*, defaults to `"full"`):
            Which positions the gradient of the kept tokens goes through. `"full"`: all of them, which is exact. `"forks"`
            (experimental): the positions that predict a kept token, alone. The keys and values of all others are constants
            from a pass without gradient, so that time and activation memory shrink with the share of kept tokens. The
            loss is the same, and its gradient is an approximation, as in
            [TokenTune](https://huggingface.co/papers/2501.18824).
        gradient_path_window (`int`, *optional*, defaults to `0`):
            With `gradient_path="forks"`, number of positions before each of these that carry gradient too.
        entropy_from_generation (`bool`, *optional*, defaults to `True`):
            Whether to take the entropies of a rollout while Transformers samples it, so that no scoring pass is needed.
            Rollouts of several turns, of vLLM, of continuous batching and of a `rollout_func`, and models with dropout
            have a scoring pass in any case.
        log_entropy (`bool`, *optional*, defaults to `False`):
            Whether to write tokens, their entropies and kept flags into the table of logged completions. It needs
            `log_completions=True`.
        dynamic_sampling (`bool`, *optional*, defaults to `False`):
            Whether to replace zero-variance groups, whose rewards are all equal, by answers to new prompts until every
            group of a rollout batch is informative, as in [DAPO](https://huggingface.co/papers/2503.14476). The paper
            trains this way. With `num_train_epochs`, training ends when that many passes over the prompts are used up.
            With `max_steps`, another pass begins.
        dynamic_sampling_max_rounds (`int`, *optional*, defaults to `10`):
            Largest number of generation rounds for one rollout batch, including the first. After the last round the
            trainer trains on the groups that it has.
        overwrite_output_dir (`bool`, *optional*, defaults to `False`):
            Whether a new run may write over the checkpoints or the model of another run in `output_dir`. Otherwise `train()`
            refuses a folder that has them, unless it resumes.

        > Parameters with other defaults than in [`~trl.GRPOConfig`]

        loss_type (`str`, *optional*, defaults to `"dapo"`):
            Loss type of TRL. The paper trains with DAPO.
        epsilon_high (`float`, *optional*, defaults to `0.28`):
            Upper clip range, DAPO's clip-higher.
        bf16 (`bool`, *optional*):
            Whether to train in bfloat16. If not set, it is `True` if a GPU supports it and `fp16` is not set,
            otherwise `False`.

    Raises:
        `ValueError`: if a field has an unknown or impossible value, or if a combination of fields would give dropped
        tokens a gradient.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> ForkingGRPOConfig(output_dir="runs/forking", top_entropy_quantile=0.1).token_selection
    'high_entropy'
    ```
    """

    top_entropy_quantile: float = field(
        default=0.2,
        metadata={"help": "Share of the counted tokens in the paper's set, in (0, 1]. `1.0` is plain GRPO."},
    )
    token_selection: str = field(
        default="high_entropy",
        metadata={"help": "`high_entropy` (the paper's), or another of `trl-forking rules`."},
    )
    token_rule: str | None = field(
        default=None,
        metadata={"help": "Import path of your own rule, such as `my_rules.keep_verbs`."},
    )
    top_entropy_quantile_end: float | None = field(
        default=None,
        metadata={"help": "Share of the counted tokens after 80 % of the steps, in (0, 1]."},
    )
    kl_tokens: str | None = field(
        default=None,
        metadata={"help": "Tokens that the KL term of `beta` is on: `all`, `selected` or `dropped`."},
    )
    selection_scope: str = field(
        default="batch",
        metadata={"help": "What shares a threshold: `batch`, `micro_batch` (a forward pass), `sequence`."},
    )
    loss_normalizer: str = field(
        default="kept",
        metadata={"help": "Tokens that divide the loss: `kept` (the paper's version 2), `all` (version 1)."},
    )
    count_zero_advantage: bool = field(
        default=False,
        metadata={"help": "Whether tokens whose advantage is exactly zero compete for the budget."},
    )
    sparse_update: bool = field(
        default=True,
        metadata={"help": "Leave padding and dropped tokens out; `False`: TRL's tensors, bit for bit."},
    )
    balance_micro_batches: bool = field(
        default=True,
        metadata={"help": "Deal the answers of an optimizer step to its micro-batches by length."},
    )
    balance_ranks: bool = field(
        default=True,
        metadata={"help": "Move answers between processes, so that all have as much to compute."},
    )
    max_tokens_per_micro_batch: int | None = field(
        default=None,
        metadata={"help": "Largest number of tokens of a micro-batch, padding included."},
    )
    gradient_path: str = field(
        default="full",
        metadata={"help": "`full`: exact; `forks` (experimental): gradient through kept positions alone."},
    )
    gradient_path_window: int = field(
        default=0,
        metadata={"help": "Positions before each fork that carry gradient too, with `forks`."},
    )
    entropy_from_generation: bool = field(
        default=True,
        metadata={"help": "Take entropies while Transformers samples, without a scoring pass."},
    )
    log_entropy: bool = field(
        default=False,
        metadata={"help": "Write entropies and kept flags into the table of logged completions."},
    )
    dynamic_sampling: bool = field(
        default=False,
        metadata={"help": "Replace groups whose rewards are all equal by answers to new prompts (DAPO)."},
    )
    dynamic_sampling_max_rounds: int = field(
        default=10,
        metadata={"help": "Most rounds of generation for a rollout batch, including the first."},
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Let a new run write over the checkpoints or the model of another one in `output_dir`."},
    )
    loss_type: str = field(default="dapo", metadata={"help": "Loss type of TRL. The paper trains with `dapo`."})
    epsilon_high: float | None = field(
        default=0.28, metadata={"help": "Upper clip range. DAPO's clip-higher is `0.28`."}
    )

    def __post_init__(self) -> None:
        self.check()
        check_rollout_sizes(self)
        if self.token_rule is not None:
            self._find_rule("token_rule")
        if self.bf16 is None:  # type: ignore[has-type]
            # TRL's default is bfloat16 everywhere, which raises an error on a machine without a GPU.
            self.bf16 = not self.fp16 and not self.use_cpu and is_torch_bf16_gpu_available()
        backend: str | None = self.ddp_backend  # type: ignore[has-type]
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            self.ddp_backend = None  # Accelerate would ask for a process group, and a process alone has none
        try:
            super().__post_init__()
        except ValueError as error:
            # Without a state the fault lies before the sizes, and they cannot be computed.
            has_state = hasattr(self, "distributed_state")
            raise (explain_sizes(self) if has_state else None) or error from None
        except FileNotFoundError as error:
            names = [entry.name for entry in fields(self) if getattr(self, entry.name, None) == error.filename]
            field_names = f"{' or '.join(names)}: " if names else ""
            raise ValueError(f"{field_names}there is no file {error.filename}.") from error
        self.ddp_backend = backend

    def check(self) -> None:
        """
        Make the settings plain, and check them. The trainer does so again when a callback has changed one.

        Raises:
            `ValueError`: if a field has an unknown or impossible value, or a combination of fields is refused.
        """
        check_settings(self)
        if is_import_path(self.token_selection):
            self._find_rule("token_selection")

    def _find_rule(self, name: str) -> None:
        try:
            find_rule(getattr(self, name))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    @property
    def drops_tokens(self) -> bool:
        """Whether a rule chooses or weights tokens. If not, training is plain GRPO."""
        return drops_tokens(self)
