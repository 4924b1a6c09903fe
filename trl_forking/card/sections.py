"""The values of the card's template: the facts of a run as Markdown."""

from typing import Any

import yaml
from huggingface_hub import EvalResult

from ..writing.markdown import escape_text, format_block, format_code, format_python
from .citations import cite_sources
from .description import describe_method, describe_model, describe_procedure
from .quick_start import write_quick_start
from .run_summary import summarize_run
from .tables import arrange_tokens, describe_result


_MEANINGS = {
    "top_entropy_quantile": "size of the top share of the counted tokens (rho)",
    "token_selection": "tokens that were kept",
    "token_rule": "rule of the user's own that chose the tokens",
    "top_entropy_quantile_end": "share at the end of its schedule",
    "kl_tokens": "tokens that the KL term was on",
    "selection_scope": "tokens that had one threshold",
    "loss_normalizer": "tokens whose number divided the loss",
    "count_zero_advantage": "whether tokens with advantage zero were counted",
    "dynamic_sampling": "whether zero-variance groups were replaced",
    "loss_type": "loss of TRL",
    "epsilon_high": "upper clip range",
}
_RARE = ("token_rule", "top_entropy_quantile_end", "kl_tokens")
_TITLES = {
    "git": "Git commit of the working directory",
    "trl-forking": "trl-forking",
    "trl": "TRL",
    "torch": "PyTorch",
    "peft": "PEFT",
    "vllm": "vLLM",
}


def describe_run(
    run: dict[str, Any], name: str, place: str, results: list[EvalResult], config: str | None
) -> dict[str, Any]:
    """
    Turn the facts of a run into the values of the card's template.

    Args:
        run (`dict[str, Any]`):
            Facts of the run, as [`~trl_forking.card.run_record.collect_run`] collects them.
        name (`str`):
            Name of the model.
        place (`str`):
            Repository or folder from which the model is loaded.
        results (`list[EvalResult]`):
            Results of evaluations.
        config (`str`, *optional*):
            YAML that repeats the run.

    Returns:
        `dict[str, Any]`: for each name in the template its value, as Markdown.
    """
    settings = yaml.safe_load(config) if config else {}
    tokens = run["kept_tokens"]
    return {
        "title": escape_text(name),
        "description": describe_model(run, settings),
        "summary": summarize_run(run),
        "quick_start": write_quick_start(run, place, settings),
        "results": [describe_result(result) for result in results],
        "has_intervals": any("interval" in (result.metric_args or {}) for result in results),
        "method": describe_method(run),
        "procedure": describe_procedure(run),
        "links": run["links"],
        "forking": [
            {"name": field, "value": format_code(run["forking"][field]), "meaning": meaning}
            for field, meaning in _MEANINGS.items()
            if field not in _RARE or run["forking"].get(field) is not None
        ],
        "tokens": arrange_tokens(tokens["tokens"]) if tokens else [],
        "num_kept": f"{tokens['num_kept']:,}" if tokens else "",
        "settings": {key: format_code(value) for key, value in run["settings"].items() if key not in run["forking"]},
        "reproduction": _describe_reproduction(run, config),
        "versions": {_TITLES.get(key, key.capitalize()): value for key, value in run["versions"].items()},
        "limits": _list_limits(run, results),
        "citations": cite_sources(run),
    }


def _describe_reproduction(run: dict[str, Any], config: str | None) -> str:
    if config:
        return (
            "Run `trl-forking grpo --config forking_config.yaml` with this file, which is in the folder of the run:\n\n"
            + format_block(config, "yaml")
        )
    lines = [f"    {name}={format_python(value)}," for name, value in run["settings"].items()]
    opening = ["from trl_forking import ForkingGRPOConfig", "", "args = ForkingGRPOConfig(", '    "output",']
    call = "\n".join([*opening, *lines, ")"])
    return (
        "Use `ForkingGRPOTrainer` with the same model, data and reward, and with these arguments:\n\n"
        f"{format_block(call, 'python')}"
    )


def _list_limits(run: dict[str, Any], results: list[EvalResult]) -> list[str]:
    seed = run["settings"].get("seed", 42)
    limits = [
        f"These are the figures of one run with one seed ({seed}). Another seed gives other figures."
        if results
        else "No evaluation was recorded, so nothing here shows that training made the model better.",
        "The reward and the curves come from the problems of training, with answers sampled at temperature "
        f"{run['batch']['temperature']:g}.",
    ]
    step, max_steps = run["progress"]["step"], run["progress"]["max_steps"]
    if 0 < step < max_steps:
        limits.append(f"The run was not finished when this card was made: it was at step {step:,} of {max_steps:,}.")
    if run["forking"]["top_entropy_quantile"] < 1.0:
        limits.append(
            "The evidence for training on few tokens is mixed. The paper reports gains for models with 14 and 32 billion "
            "parameters, and a small gain for 8 billion. With smaller models, others found it worse than training on all "
            "tokens about as often as better."
        )
    return limits
