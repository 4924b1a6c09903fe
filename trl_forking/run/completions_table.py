"""The columns that `log_entropy=True` adds to the logged completions, and the table of completions in TensorBoard."""

from collections.abc import Mapping
from typing import Any

import torch
from accelerate.logging import get_logger
from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from ..writing.markdown import format_table
from ..writing.token_texts import TokenTexts
from .trainer_protocol import ForkingTrainer


logger = get_logger(__name__)

_NUM_ROWS = 8


class Summarized(list):
    """A list with a short text: trackers and parquet files get the list, and the table in the terminal shows the text."""

    def __init__(self, values: list, summary: str):
        super().__init__(values)
        self.summary = summary

    def __str__(self) -> str:
        return self.summary

    def __reduce__(self) -> tuple[Any, ...]:
        return Summarized, (list(self), self.summary)  # the ranks exchange it, pickled


def build_entropy_columns(
    completion_ids: torch.Tensor,
    completion_mask: torch.Tensor,
    entropies: torch.Tensor,
    kept: torch.Tensor,
    tokenizer: Any,
) -> dict[str, list]:
    """
    Build the columns `marked`, `tokens`, `entropies` and `kept` of logged completions.

    Args:
        completion_ids (`torch.Tensor` of shape `(B, T)`):
            Token ids.
        completion_mask (`torch.Tensor` of shape `(B, T)`):
            1 for tokens of the answer, 0 for padding.
        entropies (`torch.Tensor` of shape `(B, T)`):
            Entropies in nats.
        kept (`torch.Tensor` of shape `(B, T)`):
            Kept tokens.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.

    Returns:
        `dict[str, list]`: columns of `B` rows. `marked` has the text of each answer with its kept tokens in brackets. The
        others have lists: `tokens` (the text of each token), `entropies` (nats) and `kept` (flags). When a list is printed,
        it shows its kept tokens, its mean or a count.

    Example:
    ```python
    >>> import torch
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> tokenizer = load_countdown_tokenizer()
    >>> ids = tokenizer("3 * 5", return_tensors="pt")["input_ids"]
    >>> entropies, kept = torch.tensor([[0.5, 1.5, 0.25]]), torch.tensor([[False, True, False]])
    >>> columns = build_entropy_columns(ids, torch.ones_like(ids), entropies, kept, tokenizer)
    >>> columns["tokens"] == [["3", " *", " 5"]], str(columns["tokens"][0]), str(columns["entropies"][0])
    (True, '*', 'mean 0.750')
    ```
    """
    # `marked` comes first: a tracker shows a list in full, so that the columns after it are out of sight.
    columns: dict[str, list] = {"marked": [], "tokens": [], "entropies": [], "kept": []}
    texts = TokenTexts(tokenizer)
    for row, mask in enumerate(completion_mask.bool()):
        tokens = texts.split(completion_ids[row][mask].tolist())
        values, flags = entropies[row][mask].float().tolist(), kept[row][mask].tolist()
        forks = " ".join(token.strip() for token, flag in zip(tokens, flags, strict=True) if flag)
        columns["marked"].append(mark_kept(tokens, flags))
        columns["tokens"].append(Summarized(tokens, forks))
        columns["entropies"].append(Summarized(values, f"mean {sum(values) / max(len(values), 1):.3f}"))
        columns["kept"].append(Summarized(flags, f"{sum(flags)} of {len(flags)}"))
    return columns


def mark_kept(tokens: list[str], kept: list[bool]) -> str:
    """
    Write an answer with its kept tokens in brackets.

    Args:
        tokens (`list[str]`):
            Text that each token adds to the answer.
        kept (`list[bool]`):
            For each token, whether it is kept.

    Returns:
        `str`: text.

    Example:
    ```python
    >>> mark_kept(["So", " it", " is"], [False, True, False])
    'So [it] is'
    ```
    """
    return "".join(_bracket(token) if is_kept else token for token, is_kept in zip(tokens, kept, strict=True))


def _bracket(token: str) -> str:
    text = token.strip()
    return token.replace(text, f"[{text}]", 1) if text else f"[{token!r}]"


class CompletionsWriter(TrainerCallback):
    """
    Writes the table of logged completions to TensorBoard, as text. TRL writes it to wandb and trackio only.

    With `log_completions=True` it writes up to eight answers, spread over the rollout batch, at every logged step.

    Args:
        trainer ([`~trl.GRPOTrainer`]):
            Trainer of the run. [`ForkingGRPOTrainer`] adds the callback itself.

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> trainer = SimpleNamespace(log_completions=False)
    >>> writer = CompletionsWriter(trainer)
    ```
    """

    def __init__(self, trainer: ForkingTrainer):
        self.trainer, self._written = trainer, (0, "")

    def on_log(self, args, state, control, **kwargs):
        trainer, step = self.trainer, state.global_step
        writers = find_event_writers(trainer)
        if not (writers and trainer.log_completions and trainer._logs["prompt"] and state.is_world_process_zero):
            return
        try:  # a full disk must not stop the run
            text = format_completions(trainer._logs)
            if (step, text) != self._written:  # when a run ends, its times are logged after its last answers
                for writer in writers:
                    writer.add_text("completions", text, step)
            self._written = (step, text)
        except Exception as error:
            logger.warning(f"TensorBoard got no completions of step {step}: {error}")


def find_event_writers(trainer: ForkingTrainer) -> list[Any]:
    """
    Find the writers of TensorBoard's event files.

    Args:
        trainer ([`~transformers.Trainer`]):
            Trainer.

    Returns:
        `list`: the `SummaryWriter` of this process. It is empty if the run does not report to TensorBoard.

    Example:
    ```python
    >>> from types import SimpleNamespace
    >>> find_event_writers(SimpleNamespace(callback_handler=SimpleNamespace(callbacks=[])))
    []
    ```
    """
    callbacks = [each for each in trainer.callback_handler.callbacks if isinstance(each, TensorBoardCallback)]
    return [callback.tb_writer for callback in callbacks if callback.tb_writer is not None]


def format_completions(logs: Mapping[str, Any]) -> str:
    """
    Write the table of logged completions as Markdown. The column `marked` takes the place of the plain answers.

    Args:
        logs (`dict`):
            Columns as TRL's trainer has them: `prompt`, `completion` and `advantages`, and others in `rewards` and `extra`.

    Returns:
        `str`: a table of up to eight rows, spread over all rows.

    Example:
    ```python
    >>> logs = {"prompt": ["2 + 2 ="], "completion": ["4"], "rewards": {"is_right": [1.0]}, "advantages": [0.5]}
    >>> print(format_completions(logs | {"extra": {"marked": ["[4]"]}}))
    | prompt | is_right | marked | advantage |
    |---|---|---|---|
    | 2 + 2 = | 1.000 | &#91;4&#93; | 0.500 |
    ```
    """
    columns = {"prompt": logs["prompt"], "completion": logs["completion"], **logs["rewards"], **logs["extra"]}
    columns["advantage"] = logs["advantages"]
    if "marked" in columns:
        del columns["completion"]
    rows = list(zip(*columns.values(), strict=True))
    shown = rows[:: max(len(rows) // _NUM_ROWS, 1)][:_NUM_ROWS]  # the first eight may all be answers to one prompt
    cells = [[format_prompt(value) if _is_conversation(value) else value for value in row] for row in shown]
    return format_table(list(columns), cells, float_format=".3f", line_break="<br>")


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def format_prompt(prompt: str | list[Mapping[str, Any]]) -> str:
    """
    Write a conversation as text. A part that is no text is shown by its type.

    Args:
        prompt (`str` or `list[dict]`):
            Turns of `role` and `content`, or a text, which stays as it is.

    Returns:
        `str`: one line for each turn.

    Example:
    ```python
    >>> format_prompt([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}])
    'user: <image> What is it?'
    ```
    """
    if isinstance(prompt, str):
        return prompt
    lines = []
    for turn in prompt:
        content = turn.get("content") or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts = [part.get("text") or "" if part.get("type") == "text" else f"<{part.get('type')}>" for part in parts]
        lines.append(f"{turn.get('role')}: {' '.join(texts)}")
    return "\n".join(lines)
