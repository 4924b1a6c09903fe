"""Prompt templates: how a question becomes a prompt."""

from ..run.user_errors import UserError


INSTRUCTION = "\nReason step by step, and put the final answer in \\boxed{}."
# The paper's template for base models. It is plain text, so an answer ends at the end of the text and not of a turn.
PAPER_PROMPT = "User:\n{}\nPlease reason step by step, and put your final answer within \\boxed{{}}.\n\nAssistant:\n"
END_OF_TEXT = "<|endoftext|>"


def build_prompt(question: str | list[dict[str, str]], template: str) -> str | list[dict[str, str]]:
    r"""
    Put a question into a prompt template.

    Args:
        question (`str` or `list[dict]`):
            A question, or a chat of `role` and `content`.
        template (`str`):
            `"chat"`: one message with the question and an instruction, for the model's own chat template. A chat stays
            as it is. `"paper"`: the plain text that the paper gives to base models.

    Returns:
        `list[dict]` or `str`: a chat for `"chat"`, a text for `"paper"`.

    Raises:
        [`UserError`]: if the template is `"paper"` and the question is a chat of several messages.

    Example:
    ```python
    >>> from trl_forking.data.templates import build_prompt
    >>> build_prompt("1 + 1?", "paper")
    'User:\n1 + 1?\nPlease reason step by step, and put your final answer within \\boxed{}.\n\nAssistant:\n'
    ```
    """
    if template == "chat":
        return [{"role": "user", "content": question + INSTRUCTION}] if isinstance(question, str) else question
    if isinstance(question, str):
        return PAPER_PROMPT.format(question)
    if len(question) != 1:
        raise UserError(f"prompt_template paper takes one question, not a chat of {len(question)} messages: use chat.")
    return PAPER_PROMPT.format(question[0]["content"])
