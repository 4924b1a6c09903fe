"""The quick start of a card: code that loads the model and answers a prompt."""

from typing import Any

from ..writing.markdown import format_block, format_python
from .example_prompt import QUESTION


def write_quick_start(run: dict[str, Any], place: str, settings: dict[str, Any]) -> str:
    """
    Write Python code that loads the model of a run and prints its answer to a prompt.

    Args:
        run (`dict[str, Any]`):
            Facts of the run, as [`~trl_forking.card.run_record.collect_run`] collects them.
        place (`str`):
            Repository or folder from which the model is loaded.
        settings (`dict[str, Any]`):
            Settings that repeat the run; empty if there are none.

    Returns:
        `str`: a block of code.
    """
    model = run["model"]
    prompt = format_python(run["names"].get("example_prompt") or QUESTION)
    lines = _load_adapter(model, place, settings) if model["adapter"] else _load_pipeline(model, place)
    if model["has_chat_template"]:
        content = f'[{{"type": "text", "text": {prompt}}}]' if model["takes_images"] else prompt
        lines.append(f'messages = [{{"role": "user", "content": {content}}}]')
    else:
        lines.append(f"prompt = {prompt}  # plain text, not a chat, as in training")
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
            f"model = AutoPeftModelForCausalLM.from_pretrained({format_python(place)})  # loads its base model too",
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
        f"base_model = {base}  # it is not on the Hub: give the folder of your copy",
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
