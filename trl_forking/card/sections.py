"""What the card's template is filled with: the recorded facts of a run as Markdown."""

import textwrap
from typing import Any

import yaml
from huggingface_hub import EvalResult

from ..writing.markdown import escape_text, format_block, format_code, format_link, format_python, is_repo_id
from .run_summary import format_share


_MEANINGS = {
    "top_entropy_quantile": "share of the counted tokens in the paper's set (rho)",
    "token_selection": "tokens that were trained",
    "selection_scope": "what had one entropy threshold",
    "loss_normalizer": "tokens the loss was divided by",
    "count_zero_advantage": "whether tokens with zero advantage competed for the budget",
    "dynamic_sampling": "whether groups with equal rewards were replaced",
    "loss_type": "loss of TRL",
    "epsilon_high": "upper clip range",
}
_TITLES = {"trl-forking": "trl-forking", "trl": "TRL", "torch": "PyTorch", "peft": "PEFT", "vllm": "vLLM"}
_QUESTION = "What is 7 * 6 + 5? Think step by step."
_DAPO = "2503.14476"
_DAPO_CITATION = textwrap.dedent("""\
    @article{yu2025dapo,
        title        = {{DAPO: An Open-Source LLM Reinforcement Learning System at Scale}},
        author       = {Qiying Yu and Zheng Zhang and Ruofei Zhu and Yufeng Yuan and Xiaochen Zuo and Yu Yue and others},
        year         = 2025,
        eprint       = {arXiv:2503.14476},
    }""")
_TRL_CITATION = textwrap.dedent("""\
    @software{vonwerra2020trl,
        title        = {{TRL: Transformers Reinforcement Learning}},
        author       = {von Werra, Leandro and Belkada, Younes and Tunstall, Lewis and Beeching, Edward and Thrush, Tristan and Lambert, Nathan and Huang, Shengyi and Rasul, Kashif and Gallouédec, Quentin},
        license      = {Apache-2.0},
        url          = {https://github.com/huggingface/trl},
        year         = {2020},
    }""")


def describe_run(
    run: dict[str, Any], name: str, place: str, results: list[EvalResult], config: str | None
) -> dict[str, Any]:
    """
    Turn the facts of a run into what the template of the card takes.

    Args:
        run (`dict[str, Any]`):
            Facts of the run, as [`~trl_forking.card.run_record.collect_run`] collects them.
        name (`str`):
            Name of the model.
        place (`str`):
            Repository or folder that it is loaded from.
        results (`list[EvalResult]`):
            Results of evaluations.
        config (`str`, *optional*):
            YAML that repeats the run.

    Returns:
        `dict[str, Any]`: values by their names in the template, as Markdown.
    """
    settings = yaml.safe_load(config) if config else {}
    tokens = run["kept_tokens"]
    return {
        "title": escape_text(name),
        "description": _describe_model(run, settings),
        "quick_start": _write_quick_start(run, place, settings),
        "results": [_describe_result(result) for result in results],
        "has_intervals": any("interval" in (result.metric_args or {}) for result in results),
        "method": _describe_method(run),
        "procedure": _describe_procedure(run),
        "links": run["links"],
        "forking": [
            {"name": field, "value": format_code(run["forking"][field]), "meaning": meaning}
            for field, meaning in _MEANINGS.items()
        ],
        "tokens": _arrange_tokens(tokens["tokens"]) if tokens else [],
        "num_kept": f"{tokens['num_kept']:,}" if tokens else "",
        "settings": {key: format_code(value) for key, value in run["settings"].items() if key not in run["forking"]},
        "reproduction": _describe_reproduction(run, config),
        "versions": {_TITLES.get(key, key.capitalize()): value for key, value in run["versions"].items()},
        "limits": _list_limits(run, results),
        "citations": _cite(run),
    }


def find_datasets(run: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """
    Find the names of the data that a run was trained on.

    Args:
        run (`dict[str, Any]`):
            Facts of the run.
        settings (`dict[str, Any]`):
            Settings that repeat the run, or nothing.

    Returns:
        `list[str]`: those that were given for the card, or else that of the settings.

    Example:
    ```python
    >>> find_datasets({"names": {}}, {"dataset_name": "openai/gsm8k"})
    ['openai/gsm8k']
    ```
    """
    names = run["names"].get("dataset_name") or settings.get("dataset_name") or []
    return [names] if isinstance(names, str) else [str(name) for name in names]


def find_dataset_ids(run: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """
    Find the data sets of a run that can be on the Hub.

    Args:
        run (`dict[str, Any]`):
            Facts of the run.
        settings (`dict[str, Any]`):
            Settings that repeat the run, or nothing. A name without an owner is one of a file or of the built-in task there.

    Returns:
        `list[str]`: names of repositories.

    Example:
    ```python
    >>> find_dataset_ids({"names": {}}, {"dataset_name": "data.jsonl"}), find_dataset_ids({"names": {"dataset_name": "imdb"}}, {})
    ([], ['imdb'])
    ```
    """
    is_given = bool(run["names"].get("dataset_name"))
    names = find_datasets(run, settings)
    return [name for name in names if is_repo_id(name) and ".json" not in name and (is_given or "/" in name)]


# What was trained ------------------------------------------------------------------------------------------------------


def _describe_model(run: dict[str, Any], settings: dict[str, Any]) -> str:
    model, adapter = run["model"], run["model"]["adapter"]
    base = _describe_base(model, settings)
    on_hub = find_dataset_ids(run, settings)
    names = [
        format_link(name, "datasets/") if name in on_hub else format_code(name)
        for name in find_datasets(run, settings)
    ]
    num_prompts = run["data"]["num_prompts"]
    prompts = f"{num_prompts:,} prompts" if num_prompts is not None else "a stream of prompts"
    data = f"{prompts} of {' and '.join(names)}" if names else prompts
    kind = f"an adapter ({_format_type(adapter['type'])}) for {base}, trained" if adapter else f"{base}, fine-tuned"
    rewards = " and ".join(
        format_code(reward["name"]) + (f" (weight {reward['weight']:g})" if reward["weight"] != 1 else "")
        for reward in run["rewards"]
    )
    return (
        f"This is {kind} by reinforcement learning on {data}, with the reward {rewards}. It was made with "
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


def _describe_method(run: dict[str, Any]) -> str:
    paper, forking = run["method"]["paper"], run["forking"]
    link = f"[{paper['title']}](https://huggingface.co/papers/{paper['id']})"
    share = forking["top_entropy_quantile"]
    extent = {"batch": "rollout batch", "micro_batch": "forward pass", "sequence": "answer"}[
        forking["selection_scope"]
    ]
    if share >= 1.0:
        method = (
            f"All tokens were trained: `top_entropy_quantile=1.0` is plain GRPO, without the restriction of {link}."
        )
    else:
        trained = {
            "high_entropy": f"the {format_share(share)} of the counted tokens of a {extent} where the model was least certain: "
            "those of the highest entropy, at which the reasoning forks",
            "low_entropy": f"the {format_share(1 - share)} of the counted tokens of a {extent} with the lowest entropy. That is "
            "the paper's control, not its method",
            "random": f"{format_share(share)} of the counted tokens of a {extent}, drawn at random. That is a control, not the "
            "paper's method",
        }[forking["token_selection"]]
        method = f"Trained with {run['method']['name']}, from {link}: GRPO whose gradient is restricted to {trained}."
    return f"{method} {_describe_dapo(run['dapo'])}".replace("a answer", "an answer").strip()


def _describe_dapo(parts: dict[str, bool]) -> str:
    used, unused = ([name for name, is_used in parts.items() if is_used is flag] for flag in (True, False))
    link = f"[DAPO](https://huggingface.co/papers/{_DAPO})"
    if not used:
        return f"None of the techniques of {link} ({_join(unused, 'and')}) was in use."
    if not unused:
        return f"{_join(used, 'and').capitalize()} are those of {link}."
    return f"Of the techniques of {link} it used {_join(used, 'and')}, but not {_join(unused, 'or')}."


def _join(names: list[str], conjunction: str) -> str:
    return f"{', '.join(names[:-1])} {conjunction} {names[-1]}" if len(names) > 1 else names[0]


def _describe_procedure(run: dict[str, Any]) -> str:
    batch, progress, model = run["batch"], run["progress"], run["model"]
    step, max_steps, resumed_at = progress["step"], progress["max_steps"], progress["resumed_at"]
    steps = f"{step:,} step{'s' * (step != 1)}" + (f" of {max_steps:,} so far" if 0 < step < max_steps else "")
    processes = f"{batch['num_processes']} process{'es' * (batch['num_processes'] != 1)} ({progress['device']})"
    sentences = [
        f"{steps}; each rollout had {batch['answers'] // batch['num_generations']} prompts with "
        f"{batch['num_generations']} answers of up to {batch['max_completion_length']:,} tokens, sampled at temperature "
        f"{batch['temperature']:g}, on {processes}."
    ]
    trained, parameters = model["num_trained"], model["num_parameters"]
    if model["adapter"]:
        chosen = ", ".join(f"`{name}` {format_code(value)}" for name, value in model["adapter"]["settings"].items())
        sentences.append(f"The adapter has {_shorten(trained)} of {_shorten(parameters)} parameters: {chosen}.")
    else:
        sentences.append(f"The model has {_shorten(parameters)} parameters.")
    if model["quantization"]:
        sentences.append(f"The base model was quantized: {format_code(model['quantization'])}.")
    if resumed_at:
        places = _join([f"{place:,}" for place in resumed_at], "and")
        sentences.append(f"The run was resumed at step {places}; all figures here are of the whole run.")
    return " ".join(sentences)


def _shorten(number: int) -> str:
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


# Quick start -----------------------------------------------------------------------------------------------------------


def _write_quick_start(run: dict[str, Any], place: str, settings: dict[str, Any]) -> str:
    model = run["model"]
    prompt = format_python(run["names"].get("example_prompt") or _QUESTION)
    lines = _load_adapter(model, place, settings) if model["adapter"] else _load_pipeline(model, place)
    if model["has_chat_template"]:
        content = f'[{{"type": "text", "text": {prompt}}}]' if model["takes_images"] else prompt
        lines.append(f'messages = [{{"role": "user", "content": {content}}}]')
    else:
        lines.append(f"prompt = {prompt}  # as in training: plain text, no chat")
    length = run["batch"]["max_completion_length"]
    lines += _call_adapter(model, length) if model["adapter"] else _call_pipeline(model, length)
    return format_block("\n".join(lines), "python")


def _load_pipeline(model: dict[str, Any], place: str) -> list[str]:
    task = "image-text-to-text" if model["takes_images"] else "text-generation"
    return ["from transformers import pipeline", "", f'generator = pipeline("{task}", model={format_python(place)})']


def _call_pipeline(model: dict[str, Any], length: int) -> list[str]:
    given = "messages" if model["has_chat_template"] else "prompt"
    given = f"text={given}" if model["takes_images"] else given
    call = f"generator({given}, max_new_tokens={length}, return_full_text=False)"
    return [f'print({call}[0]["generated_text"])']


def _load_adapter(model: dict[str, Any], place: str, settings: dict[str, Any]) -> list[str]:
    tokenizer = f"tokenizer = AutoTokenizer.from_pretrained({format_python(place)})"
    if not model["is_local"]:
        return [
            "from peft import AutoPeftModelForCausalLM",
            "from transformers import AutoTokenizer",
            "",
            f"model = AutoPeftModelForCausalLM.from_pretrained({format_python(place)})  # with its base model",
            tokenizer,
        ]
    base = format_python(f"path/to/{model['base_model'] or 'base_model'}")
    gguf = settings.get("gguf_file")
    opening = "\n    " if gguf else ""
    names = "AutoModelForCausalLM, AutoTokenizer" + (", GgufConfig" if gguf else "")
    options = (
        f",\n    gguf_file={format_python(gguf)},\n    quantization_config=GgufConfig(dequantize=True),\n"
        if gguf
        else ""
    )
    return [
        "from peft import PeftModel",
        f"from transformers import {names}",
        "",
        f"base_model = {base}  # it is not on the Hub: name the folder where you have it",
        f"model = AutoModelForCausalLM.from_pretrained({opening}base_model{options})",
        f"model = PeftModel.from_pretrained(model, {format_python(place)})",
        tokenizer,
    ]


def _call_adapter(model: dict[str, Any], length: int) -> list[str]:
    if model["has_chat_template"]:
        options = 'add_generation_prompt=True, return_dict=True, return_tensors="pt"'
        inputs = f"inputs = tokenizer.apply_chat_template(\n    messages, {options}\n)"
    else:
        inputs = 'inputs = tokenizer(prompt, return_tensors="pt")'
    return [
        inputs,
        f"output = model.generate(**inputs.to(model.device), max_new_tokens={length})",
        'print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]


# Tables and the rest ---------------------------------------------------------------------------------------------------


def _describe_result(result: EvalResult) -> dict[str, str]:
    settings = dict(result.metric_args or {})
    num_samples, interval = settings.pop("num_samples", None), settings.pop("interval", None)
    baseline, its_interval = settings.pop("baseline", None), settings.pop("baseline_interval", None)
    name = result.dataset_name
    is_on_hub = is_repo_id(result.dataset_type) and "/" in result.dataset_type
    link = f"[{escape_text(name)}](https://huggingface.co/datasets/{result.dataset_type})"
    return {
        "dataset": link if is_on_hub else escape_text(name),
        "metric": escape_text(result.metric_type),
        "value": _format_value(result.metric_value, interval),
        "baseline": "" if baseline is None else _format_value(baseline, its_interval),
        "num_samples": "" if num_samples is None else f"{num_samples:,}",
        "settings": ", ".join(f"{escape_text(key)} {format_code(item)}" for key, item in settings.items()),
    }


def _format_value(value: float, interval: list[float] | None) -> str:
    return f"{value:.4g}" + (f" ({interval[0]:.3g} to {interval[-1]:.3g})" if interval else "")


def _arrange_tokens(tokens: list[dict[str, Any]]) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Arrange the rows in two columns, read downwards."""
    rows = [
        {
            "text": format_code(token["text"].replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")),
            "kept": f"{token['kept']:,}",
            "share": format_share(token["kept"] / token["counted"]),
        }
        for token in tokens
    ]
    half = (len(rows) + 1) // 2
    empty = {"text": "", "kept": "", "share": ""}
    return [(rows[index], rows[index + half] if index + half < len(rows) else empty) for index in range(half)]


def _describe_reproduction(run: dict[str, Any], config: str | None) -> str:
    if config:
        return (
            "`trl-forking grpo --config forking_config.yaml` with this file, which is in the folder of the run:\n\n"
            + format_block(config, "yaml")
        )
    lines = [f"    {name}={format_python(value)}," for name, value in run["settings"].items()]
    call = "\n".join(
        [
            "from trl_forking import ForkingGRPOConfig",
            "",
            'args = ForkingGRPOConfig(\n    "output",',
            *lines,
            ")",
        ]
    )
    return (
        "`ForkingGRPOTrainer` with the same model, data and reward, and these arguments:\n\n"
        f"{format_block(call, 'python')}"
    )


def _list_limits(run: dict[str, Any], results: list[EvalResult]) -> list[str]:
    seed = run["settings"].get("seed", 42)
    limits = [
        f"One run with one seed ({seed}): another seed gives other figures."
        if results
        else "No evaluation was recorded: nothing here says that the model is better than the one it was trained from.",
        "The reward and the curves are of training: of the problems that were trained on, and of answers sampled at "
        f"temperature {run['batch']['temperature']:g}.",
    ]
    step, max_steps = run["progress"]["step"], run["progress"]["max_steps"]
    if 0 < step < max_steps:
        limits.append(f"The run had not come to its end when this was written: step {step:,} of {max_steps:,}.")
    if run["forking"]["top_entropy_quantile"] < 1.0:
        limits.append(
            "The evidence for training on few tokens is mixed: the paper gains with models of 14 and 32 billion "
            "parameters and little with 8; others, with smaller ones, found it behind training on all tokens as often "
            "as not."
        )
    return limits


def _cite(run: dict[str, Any]) -> str:
    paper = run["method"]["paper"]
    cited = [(run["method"]["name"], paper["citation"].strip())]
    if all(run["dapo"].values()):
        cited.append(("DAPO", _DAPO_CITATION))
    cited.append(("TRL", _TRL_CITATION))
    return "\n\n".join(f"{name}:\n\n{format_block(citation, 'bibtex')}" for name, citation in cited)
