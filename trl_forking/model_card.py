"""The part of the model card that says which tokens were trained."""

from pathlib import Path

from huggingface_hub import ModelCard

from .forking_grpo_config import ForkingGRPOConfig


_FIELDS = {
    "top_entropy_quantile": "share of the counted tokens in the paper's set (rho)",
    "token_selection": "tokens that were trained",
    "selection_scope": "what had one entropy threshold",
    "loss_normalizer": "tokens the loss was divided by",
    "count_zero_advantage": "whether tokens with zero advantage competed for the budget",
}
_HEADING = "### Forking tokens"
_FOLLOWING = "### Framework versions"


def format_forking_section(args: ForkingGRPOConfig) -> str:
    """
    Write the forking settings of a run as a Markdown section.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings of the run.

    Returns:
        `str`: heading, sentence and table.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> print(format_forking_section(ForkingGRPOConfig("runs/example")).splitlines()[0])
    ### Forking tokens
    ```
    """
    rows = [f"| `{name}` | `{getattr(args, name)}` | {meaning} |" for name, meaning in _FIELDS.items()]
    sentence = (
        "The policy gradient was restricted to the tokens selected by the entropy of their position "
        "([arXiv 2506.01939](https://huggingface.co/papers/2506.01939)) with these settings:"
        if args.drops_tokens
        else "All tokens were trained (`top_entropy_quantile=1.0` is plain GRPO):"
    )
    return "\n".join([_HEADING, "", sentence, "", "| setting | value | meaning |", "|---|---|---|", *rows, ""])


def add_forking_section(args: ForkingGRPOConfig) -> None:
    """
    Add the forking settings to the card that TRL wrote into `args.output_dir`, before its framework versions.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings of the run.

    Example:
    ```python
    >>> import pathlib, tempfile
    >>> from trl_forking import ForkingGRPOConfig
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "README.md").write_text("# Model Card\\n\\n### Framework versions\\n")
    >>> add_forking_section(ForkingGRPOConfig(str(folder)))
    >>> "top_entropy_quantile" in (folder / "README.md").read_text()
    True
    ```
    """
    path = Path(args.output_dir) / "README.md"
    card = ModelCard.load(path, ignore_metadata_errors=True)
    before, heading, after = card.text.partition(_FOLLOWING)
    # A model from a folder has no page on the Hub, and one that was not pushed has no name there.
    before = before.replace(
        "a fine-tuned version of [None](https://huggingface.co/None)", "fine-tuned from a local model"
    )
    before = before.replace('model="None"', f'model="{Path(args.output_dir).as_posix()}"')
    card.text = f"{before}{format_forking_section(args)}\n{heading}{after}"
    card.save(path)
