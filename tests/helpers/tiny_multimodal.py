"""Tiny models that see images, call tools and act in environments, with scripted answers and without downloads."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from trl import GRPOConfig, GRPOTrainer

from helpers.tiny import PLAIN_SGD, GradientSpy, build_model
from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer


PAD, EOS = 0, 1
NUM_PROMPTS, NUM_GENERATIONS = 4, 4
MAX_COMPLETION_LENGTH = 200


# Tokenizer ---------------------------------------------------------------------------------------------------------

_IMAGE_TOKENS = ["<|image_pad|>", "<|video_pad|>", "<image>", "<boi>", "<eoi>", "<soft>", "<fake_token_around_image>"]
_IMAGE_TOKENS += ["<end_of_utterance>", "<global-img>", "<|vision_start|>", "<|vision_end|>"]

CHAT_TEMPLATE = """\
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool.function.name }}({{ tool.function.parameters.properties | join(',') }})
{% endfor %}<|im_end|>{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}
{%- else %}{% for part in message.content or [] %}
{%- if part.type == 'image' %}IMAGE{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}
{%- for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open": "<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close": "<|im_end|>", "content": "text"},
    },
}


def build_chat_tokenizer(image_token: str = "<image>") -> PreTrainedTokenizerFast:
    """One token per character, and a chat template with tools and images."""
    special = ["<pad>", "<|im_end|>", "<unk>", "<|im_start|>", *_IMAGE_TOKENS]
    characters = ["\n", *map(chr, range(32, 127))]
    vocabulary = {word: index for index, word in enumerate(special + characters)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        unk_token="<unk>",
        padding_side="left",
        additional_special_tokens=["<|im_start|>", *_IMAGE_TOKENS],
        chat_template=CHAT_TEMPLATE.replace("IMAGE", image_token),
    )
    fast.response_template = RESPONSE_TEMPLATE
    return fast


def build_chat_model() -> PreTrainedModel:
    size = len(build_chat_tokenizer())
    return build_model(scale=0.2, vocab_size=size, pad_token_id=PAD, eos_token_id=EOS)


# Vision-language models --------------------------------------------------------------------------------------------

TEXT = {"vocab_size": len(build_chat_tokenizer()), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": PAD, "eos_token_id": EOS}
TEXT |= {"bos_token_id": None, "max_position_embeddings": 1024}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
PLAIN_IMAGES = {"do_resize": True, "do_center_crop": False, "size": {"height": 8, "width": 8}}


class _QwenProcessor(Qwen2_5_VLProcessor):
    """Without the video processor, which needs torchvision."""

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        ids = tokenizer.convert_tokens_to_ids([self.image_token, self.video_token])
        self.image_token_id, self.video_token_id = ids
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def _id_of(token: str) -> int:
    return build_chat_tokenizer().convert_tokens_to_ids(token)


def _qwen2_5_vl() -> tuple[type, Any, ProcessorMixin]:
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "patch_size": 4}
    vision |= {"out_hidden_size": 16, "window_size": 16, "fullatt_block_indexes": [0]}
    tokens = {"image_token_id": _id_of("<|image_pad|>"), "video_token_id": _id_of("<|video_pad|>")}
    config = Qwen2_5_VLConfig(
        text_config=TEXT | {"rope_parameters": rope}, vision_config=vision, tie_word_embeddings=False, **tokens
    )
    images = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, min_pixels=64, max_pixels=256)
    tokenizer = build_chat_tokenizer("<|vision_start|><|image_pad|><|vision_end|>")
    processor = _QwenProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
    return Qwen2_5_VLForConditionalGeneration, config, processor


def _llava() -> tuple[type, Any, ProcessorMixin]:
    config = LlavaConfig(
        text_config=LlamaConfig(**TEXT),
        vision_config=CLIPVisionConfig(**VISION, image_size=8, patch_size=4),
        image_token_id=_id_of("<image>"),
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    tokenizer = build_chat_tokenizer()
    # One token for the class, which the default strategy takes away again.
    shape = {"patch_size": 4, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    images = LlavaImageProcessorPil(**PLAIN_IMAGES)
    processor = LlavaProcessor(images, tokenizer, chat_template=tokenizer.chat_template, **shape)
    return LlavaForConditionalGeneration, config, processor


def _llava_next() -> tuple[type, Any, ProcessorMixin]:
    pinpoints = [[8, 16], [16, 8]]
    config = LlavaNextConfig(
        text_config=LlamaConfig(**TEXT),
        vision_config=CLIPVisionConfig(**VISION, image_size=8, patch_size=4),
        image_token_id=_id_of("<image>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    tokenizer = build_chat_tokenizer()
    shape = {"patch_size": 4, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    crop = {"crop_size": {"height": 8, "width": 8}}
    images = LlavaNextImageProcessorPil(image_grid_pinpoints=pinpoints, **PLAIN_IMAGES, **crop)
    processor = LlavaNextProcessor(images, tokenizer, chat_template=tokenizer.chat_template, **shape)
    return LlavaNextForConditionalGeneration, config, processor


def _gemma3() -> tuple[type, Any, ProcessorMixin]:
    config = Gemma3Config(
        text_config=TEXT | {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
        vision_config=VISION | {"image_size": 8, "patch_size": 4, "vision_use_head": False},
        mm_tokens_per_image=4,
        image_token_index=_id_of("<soft>"),
        boi_token_index=_id_of("<boi>"),
        eoi_token_index=_id_of("<eoi>"),
        tie_word_embeddings=False,
    )
    tokenizer = build_chat_tokenizer("<boi>")
    for name, token in (("boi_token", "<boi>"), ("eoi_token", "<eoi>"), ("image_token", "<soft>")):
        setattr(tokenizer, name, token)
        setattr(tokenizer, f"{name}_id", _id_of(token))
    images = Gemma3ImageProcessorPil(size={"height": 8, "width": 8})
    processor = Gemma3Processor(images, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=4)
    return Gemma3ForConditionalGeneration, config, processor


def _idefics3() -> tuple[type, Any, ProcessorMixin]:
    config = Idefics3Config(
        text_config=LlamaConfig(**TEXT),
        vision_config=VISION | {"image_size": 16, "patch_size": 4},
        image_token_id=_id_of("<image>"),
        scale_factor=2,
        tie_word_embeddings=False,
    )
    tokenizer = build_chat_tokenizer()
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": 16}, max_image_size={"longest_edge": 16}, do_image_splitting=False
    )
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=tokenizer.chat_template)
    return Idefics3ForConditionalGeneration, config, processor


VISION_MODELS = {
    "qwen2_5_vl": _qwen2_5_vl,  # pixel_values by patches, image_grid_thw, mm_token_type_ids, positions in 3 dimensions
    "llava": _llava,  # pixel_values by images
    "llava_next": _llava_next,  # image_sizes
    "gemma3": _gemma3,  # token_type_ids, image tokens that see each other, sliding windows
    "idefics3": _idefics3,  # pixel_values and pixel_attention_mask by answers
}


def build_vision_model(name: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    model_class, config, processor = VISION_MODELS[name]()
    torch.manual_seed(0)
    model = model_class(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.2)
    return model, processor


def build_image_dataset(num_images: tuple[int, ...] = (1, 2, 1, 3)) -> Dataset:
    """Prompts with images of different sizes and numbers; the first prompt's group has equal rewards."""
    rows = []
    for number, count in enumerate(num_images):
        images = [_build_image(10 * number + index, 9 + 4 * index, 21 - 3 * number) for index in range(count)]
        prompt = [{"role": "user", "content": "hi " * (1 + number)}]
        rows.append({"prompt": prompt, "images": images, "number": number})
    return Dataset.from_list(rows)


def _build_image(seed: int, width: int, height: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(3 * width * height))


def build_chat_dataset(**columns: list[Any]) -> Dataset:
    prompts = [[{"role": "user", "content": "go " * (1 + number)}] for number in range(NUM_PROMPTS)]
    return Dataset.from_dict({"prompt": prompts, "number": list(range(NUM_PROMPTS)), **columns})


# Scripted answers --------------------------------------------------------------------------------------------------


class Scripted:
    """Answers are written by `script` instead of sampled; the rest of the trainer runs as it is."""

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        fields = {name: freeze(value) for name, value in multimodal_fields.items()}
        self.turns.append({"prompt_ids": prompt_ids, "images": freeze(images), "fields": fields})
        answers = []
        for index, ids in enumerate(prompt_ids):
            source = random.Random(f"{index % num_generations} {ids}")
            answer = self._tokenizer(self.script(self._tokenizer.decode(ids), source))["input_ids"]
            answers.append(answer[: self.max_completion_length])
        return answers, None


class ScriptedGRPO(Scripted, GRPOTrainer):
    pass


class ScriptedForking(Scripted, GradientSpy):
    pass


def write_words(source: random.Random) -> str:
    return "".join(source.choices("abcdefgh ", k=source.randint(2, 9)))


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


# Trainers ----------------------------------------------------------------------------------------------------------


class RewardRecorder:
    """Keeps what the trainer passes to a reward function; the rewards differ within all groups but the first."""

    __name__ = "recorder"

    def __init__(self):
        self.calls: list[dict[str, Any]] = []

    def __call__(self, completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        self.calls.append(freeze({"completion_ids": completion_ids, **kwargs}))
        numbers = kwargs.get("number", [1] * len(completion_ids))
        return [1.0 if n == 0 else float(sum(ids) % 2) for n, ids in zip(numbers, completion_ids, strict=True)]


def freeze(value: Any) -> Any:
    """Turn what may change later, or has no `==`, into plain values."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().flatten().tolist()
    if isinstance(value, Image.Image):
        return value.size, value.tobytes()
    if isinstance(value, dict):
        return {key: freeze(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [freeze(item) for item in value]
    if isinstance(value, str | int | float | None):
        return value
    return copy.deepcopy(value.log) if hasattr(value, "log") else type(value).__name__


def build_chat_trainer(
    output_dir: str,
    trainer_class: type = ScriptedForking,
    model: PreTrainedModel | None = None,
    processing_class: Any = None,
    train_dataset: Dataset | None = None,
    reward_funcs: Any = None,
    script: Callable[[str, random.Random], str] | None = None,
    trainer_kwargs: dict[str, Any] | None = None,
    **config: Any,
) -> Any:
    """A trainer whose one step covers four answers to each of four prompts, in four micro-batches."""
    settings = PLAIN_SGD | {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "num_generations": NUM_GENERATIONS,
        "max_completion_length": MAX_COMPLETION_LENGTH,
        "max_steps": 1,
        "learning_rate": 1.0,
        "epsilon_high": 0.28,
        "shuffle_dataset": False,
    }
    config_class = ForkingGRPOConfig if issubclass(trainer_class, ForkingGRPOTrainer) else GRPOConfig
    trainer = trainer_class(
        model=build_chat_model() if model is None else model,
        reward_funcs=RewardRecorder() if reward_funcs is None else reward_funcs,
        args=config_class(output_dir, **(settings | config)),
        train_dataset=train_dataset,
        processing_class=build_chat_tokenizer() if processing_class is None else processing_class,
        **(trainer_kwargs or {}),
    )
    trainer.turns, trainer.script = [], script
    return trainer
