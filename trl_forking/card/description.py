"""The sentences of a card about its model, the method and the training."""

from typing import Any

from ..selection.rules import SCHEDULE
from ..selection.schedule import END_OF_SCHEDULE
from ..selection.words import TOKEN_SELECTIONS
from ..writing.markdown import escape_text, format_code, format_link
from ..writing.numbers import count_noun, format_count, format_percent
from .dataset_names import find_dataset_ids, find_datasets
from .trained_rule import find_trained_rule


_DAPO = "2503.14476"


def describe_model(run: dict[str, Any], settings: dict[str, Any]) -> str:
    """
    Say what the model is, and from which data and rewards it was trained.

    Args:
        run (`dict[str, Any]`):
            Facts of the run, as [`~trl_forking.card.run_record.collect_run`] collects them.
        settings (`dict[str, Any]`):
            Settings that repeat the run; empty if there are none.

    Returns:
        `str`: Markdown.
    """
    model, adapter = run["model"], run["model"]["adapter"]
    base = _describe_base(model, settings)
    on_hub = find_dataset_ids(run, settings)
    names = [
        format_link(name, "datasets/") if name in on_hub else format_code(name)
        for name in find_datasets(run, settings)
    ]
    num_prompts = run["data"]["num_prompts"]
    prompts = count_noun(num_prompts, "prompt") if num_prompts is not None else "a stream of prompts"
    data = f"{prompts} of {' and '.join(names)}" if names else prompts
    kind = f"an adapter ({_format_type(adapter['type'])}) for {base}, trained" if adapter else f"{base}, fine-tuned"
    rewards = [
        format_code(reward["name"]) + (f" (weight {reward['weight']:g})" if reward["weight"] != 1 else "")
        for reward in run["rewards"]
    ]
    return (
        f"This is {kind} by reinforcement learning on {data}, with the reward{'s' * (len(rewards) != 1)} "
        f"{_join(rewards, 'and') if rewards else 'of none'}. It was made with "
        "[TRL](https://github.com/huggingface/trl) and trl-forking."
    )


def _format_type(adapter_type: str) -> str:
    return "LoRA" if adapter_type == "LORA" else escape_text(adapter_type)


def _describe_base(model: dict[str, Any], settings: dict[str, Any]) -> str:
    name = settings.get("gguf_file") or model["base_model"] or settings.get("model_name_or_path")
    if model["base_model"] and not model["is_local"]:
        return format_link(model["base_model"])
    if name:
        return f"{format_code(name)} (not on the Hub)"
    return f"a model without a name ({format_code(model['architecture'] or 'of an unknown class')})"


def describe_method(run: dict[str, Any]) -> str:
    """
    Say which tokens were trained, and which techniques of DAPO were used.

    Args:
        run (`dict[str, Any]`):
            Facts of the run, as [`~trl_forking.card.run_record.collect_run`] collects them.

    Returns:
        `str`: Markdown.
    """
    paper, forking = run["method"]["paper"], run["forking"]
    link = f"[{paper['title']}](https://huggingface.co/papers/{paper['id']})"
    share, rule = forking["top_entropy_quantile"], find_trained_rule(forking)
    if rule is not None and rule.name not in TOKEN_SELECTIONS:
        method = f"The model was trained with GRPO and the token rule {format_code(rule.name)}: {rule.facts.selects}."
        if rule.facts.equation:
            method += f" As a formula: ${rule.facts.equation}$."
        if rule.facts.paper is not None:
            method += f" The rule is from [{rule.facts.paper.title}]({rule.facts.paper.link})."
        if rule.facts.uses_share:
            method += f" The share was {format_percent(share, digits=2)}."
    elif rule is None:
        method = f"All tokens were trained: `top_entropy_quantile=1.0` is plain GRPO, without the selection of {link}."
    else:
        method = f"The model was trained with {run['method']['name']}, from {link}. This is GRPO that trains only "
        method += _describe_kept_tokens(forking["token_selection"], share, forking["selection_scope"])
    last = forking.get("top_entropy_quantile_end")
    if rule is not None and last is not None:
        first, last, part = (format_percent(value, digits=2) for value in (share, last, END_OF_SCHEDULE))
        method += f" The share went from {first} to {last} over the first {part} of the steps, as in [{SCHEDULE.title}]({SCHEDULE.link})."
    return f"{method} {_describe_dapo(run['dapo'])}"


def _describe_kept_tokens(token_selection: str, share: float, selection_scope: str) -> str:
    extents = {"batch": "a rollout batch", "micro_batch": "a forward pass", "sequence": "an answer"}
    tokens = f"of the counted tokens of {extents[selection_scope]}"
    kept, others = (format_percent(part, digits=2) for part in (share, 1 - share))
    return {
        "high_entropy": f"the {kept} {tokens} where the model was least certain. These are the tokens of the highest "
        "entropy, at which the reasoning forks.",
        "low_entropy": f"the {others} {tokens} with the lowest entropy. This is the control of the paper, not its method.",
        "random": f"{kept} {tokens}, drawn at random. This is a control, not the method of the paper.",
    }[token_selection]


def _describe_dapo(parts: dict[str, bool]) -> str:
    used, unused = ([name for name, is_used in parts.items() if is_used is flag] for flag in (True, False))
    link = f"[DAPO](https://huggingface.co/papers/{_DAPO})"
    if not used:
        return f"The run used no technique of {link}: neither {_join(unused, 'nor')}."
    if not unused:
        return f"The run used {_join(used, 'and')}, as in {link}."
    return f"Of the techniques of {link}, the run used {_join(used, 'and')}, but not {_join(unused, 'or')}."


def _join(names: list[str], conjunction: str) -> str:
    return f"{', '.join(names[:-1])} {conjunction} {names[-1]}" if len(names) > 1 else names[0]


def describe_procedure(run: dict[str, Any]) -> str:
    """
    Say how long, on what machine and with how many parameters the run trained.

    Args:
        run (`dict[str, Any]`):
            Facts of the run, as [`~trl_forking.card.run_record.collect_run`] collects them.

    Returns:
        `str`: Markdown.
    """
    batch, progress, model = run["batch"], run["progress"], run["model"]
    step, max_steps, resumed_at = progress["step"], progress["max_steps"], progress["resumed_at"]
    steps = count_noun(step, "step") + (f" of {max_steps:,} so far" if 0 < step < max_steps else "")
    processes = f"{batch['num_processes']} process{'es' * (batch['num_processes'] != 1)} ({progress['device']})"
    sentences = [
        f"The run took {steps}; each rollout had {count_noun(batch['answers'] // batch['num_generations'], 'prompt')} with "
        f"{count_noun(batch['num_generations'], 'answer')} of up to {count_noun(batch['max_completion_length'], 'token')}, "
        f"sampled at temperature {batch['temperature']:g}, on {processes}."
    ]
    trained, parameters = format_count(model["num_trained"]), format_count(model["num_parameters"])
    if model["adapter"]:
        chosen = ", ".join(f"`{name}` {format_code(value)}" for name, value in model["adapter"]["settings"].items())
        sentences.append(f"The adapter has {trained} of {parameters} parameters: {chosen}.")
    else:
        sentences.append(f"The model has {parameters} parameters.")
    if model["quantization"]:
        sentences.append(f"The base model was quantized: {format_code(model['quantization'])}.")
    if resumed_at:
        places = _join([f"{place:,}" for place in resumed_at], "and")
        sentences.append(f"The run was resumed at step {places}. All figures here are of the whole run.")
    return " ".join(sentences)
