"""Images, tools, environments and custom rollouts reach model and rewards as in TRL. Tool output is never kept."""

import math
import re
from typing import Any

import pandas
import pytest
import torch
from trl import GRPOTrainer

from helpers.scripted import (
    Counter,
    Speller,
    act,
    add,
    build_seeing,
    dump,
    look,
    look_twice,
    run,
    shout,
    use_tools,
)
from helpers.tiny import GradientSpy, relative_error
from helpers.tiny_multimodal import (
    NUM_GENERATIONS,
    NUM_PROMPTS,
    VISION_MODELS,
    ScriptedForking,
    ScriptedGRPO,
    build_chat_dataset,
    build_chat_tokenizer,
    build_chat_trainer,
    build_image_dataset,
    freeze,
)


ONE_BATCH = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "sparse_update": False}
pytestmark = [
    pytest.mark.slow,  # fifteen seconds in all
    pytest.mark.filterwarnings("ignore:You are using 'environment_factory'"),
]


def compare_with_trl(tmp_path, build, forking=ScriptedForking, plain=ScriptedGRPO, has_recorder=True):
    """Train with TRL, with all tokens, and with a fifth of them in both ways; `build(trainer_class, **settings)`."""
    theirs = run(build(plain))
    whole = run(build(forking, top_entropy_quantile=1.0, sparse_update=False))
    dense = run(build(forking, sparse_update=False))
    sparse = run(build(forking))
    assert not has_recorder or theirs.rewards
    for ours in (whole, dense, sparse):
        assert ours.rewards == theirs.rewards
        assert ours.turns == theirs.turns
    assert whole.passes == theirs.passes and dense.passes == theirs.passes
    assert theirs.gradient.any() and torch.equal(whole.gradient, theirs.gradient)
    for ours_logged, theirs_logged in zip(whole.logs[:-1], theirs.logs[:-1], strict=True):
        for key in set(theirs_logged) - {"step_time"}:
            assert ours_logged[key] == theirs_logged[key], key
    assert sparse.trainer._is_sparse and not dense.trainer._is_sparse
    assert dense.gradient.any() and relative_error(sparse.gradient, dense.gradient) < 1e-5
    assert relative_error(dense.gradient, theirs.gradient) > 1e-2
    return theirs, sparse


def roll_out(trainer: Any) -> dict[str, Any]:
    """The rollout batch of the one generation round that the data set is."""
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    rows = [dict(row) for row in trainer.train_dataset for _ in range(NUM_GENERATIONS)]
    return trainer._generate_and_score_completions(rows)


def assert_only_kept_tokens_are_trained(trainer: Any, batch: dict[str, Any]) -> None:
    trainer._compute_loss(trainer.model, batch).backward()
    gradient = trainer.seen_logps.grad
    assert batch["kept"].any()
    assert (gradient[~batch["kept"]] == 0).all() and (gradient[batch["kept"]] != 0).all()


def find_tool_output(ids: list[int]) -> list[bool]:
    """Which tokens of an answer the model has not written, by the text: from a tool's header to the next of its own."""
    tokenizer = build_chat_tokenizer()

    def encode(text: str) -> str:
        return "".join(map(chr, tokenizer(text)["input_ids"]))

    pattern = f"{re.escape(encode('<|im_start|>tool'))}[\\s\\S]*?{re.escape(encode('<|im_start|>assistant'))}."
    flags = [False] * len(ids)
    for match in re.finditer(pattern, "".join(map(chr, ids)), re.DOTALL):
        flags[match.start() : match.end()] = [True] * len(match.group())
    return flags


def assert_tool_output_is_left_out(trainer: Any) -> dict[str, Any]:
    batch = roll_out(trainer)
    length = batch["completion_ids"].size(1)
    lengths = batch["completion_mask"].sum(1).tolist()
    answers = [ids[:end].tolist() for ids, end in zip(batch["completion_ids"], lengths, strict=True)]
    outside = [find_tool_output(ids) + [False] * (length - len(ids)) for ids in answers]
    from_tools = torch.tensor(outside)
    assert from_tools.any()
    assert torch.equal(batch["tool_mask"] == 0, from_tools)
    counted = batch["completion_mask"].bool() & ~from_tools & (batch["advantages"] != 0).unsqueeze(1)
    assert torch.equal(batch["counted"], counted)
    assert not (batch["kept"] & ~counted).any()
    assert batch["kept"].sum() == math.ceil(0.2 * counted.sum())
    assert_only_kept_tokens_are_trained(trainer, batch)
    return batch


# Images ------------------------------------------------------------------------------------------------------------


def compare_seeing(tmp_path, name, **settings):
    def build(trainer_class, **more):
        return build_seeing(tmp_path, name, trainer_class, **(settings | more))

    return compare_with_trl(tmp_path, build, GradientSpy, GRPOTrainer)


EXTRA_INPUTS = {
    "qwen2_5_vl": {"pixel_values", "image_grid_thw", "mm_token_type_ids"},
    "llava": {"pixel_values"},
    "llava_next": {"pixel_values", "image_sizes"},
    "gemma3": {"pixel_values", "token_type_ids"},
    "idefics3": {"pixel_values", "pixel_attention_mask"},
}


@pytest.mark.parametrize("name", VISION_MODELS)
def test_images(tmp_path, name):
    """Sampled answers to prompts with 1 to 3 images of different sizes."""
    theirs, sparse = compare_seeing(tmp_path, name)
    assert len(theirs.passes) == 4
    for seen, ours in zip(theirs.passes, sparse.passes, strict=True):
        assert EXTRA_INPUTS[name] <= set(seen)
        assert ours == seen  # images belong to rows: none is cut off
    assert len(theirs.rewards[0]["images"][4]) == 2


@pytest.mark.parametrize("name", VISION_MODELS)
def test_entropies_are_those_of_the_model_that_sees_the_images(tmp_path, name):
    trainer = build_seeing(tmp_path, name, GradientSpy, **ONE_BATCH)
    batch = roll_out(trainer)
    inputs = {key: batch[key] for key in EXTRA_INPUTS[name]}
    inputs["input_ids"] = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    inputs["attention_mask"] = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)

    def score(**changes):
        logits = trainer.model(**(inputs | changes)).logits.detach().double()
        return torch.distributions.Categorical(logits=logits[:, batch["prompt_ids"].size(1) - 1 : -1]).entropy()

    counted, entropies = batch["counted"], score()
    torch.testing.assert_close(batch["entropies"][counted].double(), entropies[counted], atol=1e-5, rtol=0)
    others = score(pixel_values=-batch["pixel_values"])
    assert (others - entropies)[counted].abs().max() > 1e-3, "the images have no influence, so that this shows nothing"
    assert batch["kept"].sum() == math.ceil(0.2 * counted.sum())
    assert entropies[batch["kept"]].min() > entropies[counted & ~batch["kept"]].max() - 2**-16
    assert_only_kept_tokens_are_trained(trainer, batch)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"num_iterations": 2, "max_steps": 2, "learning_rate": 0.1},
        {"importance_sampling_level": "sequence", "loss_type": "grpo"},
        {"gradient_checkpointing": True},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8},
    ],
    ids=str,
)
def test_images_with_other_settings(tmp_path, settings):
    compare_seeing(tmp_path, "qwen2_5_vl", **settings)


def test_one_image_column(tmp_path):
    """The column `image` holds one image instead of a list."""
    dataset = build_image_dataset((1, 1, 1, 1))
    dataset = dataset.map(lambda row: {"image": row["images"][0]}, remove_columns="images")
    theirs, _ = compare_seeing(tmp_path, "llava", dataset=dataset)
    assert {"image", "number"} <= set(theirs.rewards[0])


def test_text_only_prompts_for_a_model_that_could_see(tmp_path):
    """Without images the rows and columns of dropped tokens are left out as with any text model."""
    theirs, sparse = compare_seeing(tmp_path, "qwen2_5_vl", dataset=build_chat_dataset())

    def count(passes):
        return sum(math.prod(seen["input_ids"][1]) for seen in passes)

    assert count(sparse.passes) < count(theirs.passes)
    assert not any("pixel_values" in seen for seen in theirs.passes)


# Tools -------------------------------------------------------------------------------------------------------------


def build_with_tools(tmp_path, trainer_class=ScriptedForking, **settings):
    tools = {"trainer_kwargs": {"tools": [add, shout, dump]}}
    return build_chat_trainer(
        tmp_path, trainer_class, train_dataset=build_chat_dataset(), script=use_tools, **tools, **settings
    )


TOOL_SETTINGS = [
    {},
    {"num_iterations": 2, "max_steps": 2, "learning_rate": 0.1},
    {"importance_sampling_level": "sequence", "loss_type": "grpo"},
    {"mask_truncated_completions": True, "max_completion_length": 110},
    {"max_tool_calling_iterations": 1},
]


@pytest.mark.parametrize("settings", TOOL_SETTINGS, ids=str)
def test_tools(tmp_path, settings):
    theirs, _ = compare_with_trl(
        tmp_path, lambda trainer_class, **more: build_with_tools(tmp_path, trainer_class, **(settings | more))
    )
    assert len(theirs.turns) > 1 and theirs.logs[0]["tools/call_frequency"] > 0.3
    assert 0 < theirs.logs[0]["tools/failure_frequency"] < 1
    assert 0 < theirs.logs[0]["completions/clipped_ratio"] < 1
    roles = {message["role"] for answer in theirs.rewards[0]["completions"] for message in answer}
    assert roles == {"assistant", "tool"}


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_tool_output_is_neither_counted_nor_kept(tmp_path, level):
    settings = {"importance_sampling_level": level, "loss_type": "grpo"}
    assert_tool_output_is_left_out(build_with_tools(tmp_path, **ONE_BATCH, **settings))


@pytest.mark.parametrize("settings", [{"selection_scope": "sequence"}, {"token_selection": "low_entropy"}], ids=str)
def test_tool_output_is_never_trained(tmp_path, settings):
    trainer = build_with_tools(tmp_path, **ONE_BATCH, **settings)
    batch = roll_out(trainer)
    assert (batch["tool_mask"] == 0).any() and not (batch["kept"] & (batch["tool_mask"] == 0)).any()
    assert_only_kept_tokens_are_trained(trainer, batch)


def test_logged_entropies_show_tool_output_as_dropped(tmp_path):
    trainer = build_with_tools(tmp_path, log_completions=True, log_entropy=True, num_completions_to_print=0)
    trainer.train()
    table = pandas.read_parquet(tmp_path / "completions" / "completions_00001.parquet")
    tokenizer, num_from_tools = build_chat_tokenizer(), 0
    for tokens, kept in zip(table["tokens"], table["kept"], strict=True):
        from_tools = find_tool_output(tokenizer.convert_tokens_to_ids(list(tokens)))
        assert not any(flag and outside for flag, outside in zip(kept, from_tools, strict=True))
        num_from_tools += sum(from_tools)
    assert num_from_tools and any(any(kept) for kept in table["kept"])


@pytest.mark.slow
@pytest.mark.parametrize("has_images", [False, True])
def test_tools_that_return_images(tmp_path, has_images):
    """Pictures stand in the answers then, and their tokens are tool output."""
    dataset = build_image_dataset() if has_images else build_chat_dataset()
    tools = {"script": look_twice, "trainer_kwargs": {"tools": [look]}, "max_completion_length": 200}

    def build(trainer_class, **settings):
        return build_seeing(tmp_path, "qwen2_5_vl", trainer_class, dataset, **tools, **settings)

    theirs, sparse = compare_with_trl(tmp_path, build)
    assert all("pixel_values" in seen for seen in theirs.passes) and sparse.passes == theirs.passes
    batch = assert_tool_output_is_left_out(build(ScriptedForking, **ONE_BATCH))
    assert (batch["mm_token_type_ids"][:, -batch["completion_ids"].size(1) :] == 1).any()


# Environments ------------------------------------------------------------------------------------------------------


def build_with_environment(tmp_path, trainer_class, factory, dataset, **settings):
    return build_chat_trainer(
        tmp_path,
        trainer_class,
        train_dataset=dataset,
        script=act,
        trainer_kwargs={"environment_factory": factory},
        **settings,
    )


def compare_in_environment(tmp_path, factory, dataset):
    def build(trainer_class, **settings):
        return build_with_environment(tmp_path, trainer_class, factory, dataset, **settings)

    theirs, _ = compare_with_trl(tmp_path, build)
    assert len(theirs.turns) > 2
    if dataset is not None:
        assert_tool_output_is_left_out(build(ScriptedForking, **ONE_BATCH))
    return theirs


@pytest.mark.slow
def test_one_environment_that_owns_its_reward(tmp_path):
    theirs = compare_in_environment(tmp_path, Counter, build_chat_dataset())
    assert theirs.logs[0]["rewards/Counter/std"] > 0
    logs = theirs.rewards[0]["environments"]
    assert len(logs) == 16 and all(log[0] == ["reset", ["number", "prompt"]] for log in map(list_all, logs))
    assert any(len(log) > 2 for log in logs)
    assert "from 2 " in build_chat_tokenizer().decode(theirs.turns[0]["prompt_ids"][8])


def list_all(log):
    return [list(entry) for entry in log]


@pytest.mark.slow
def test_several_environments(tmp_path):
    dataset = build_chat_dataset(environment=["counter", "speller"] * (NUM_PROMPTS // 2))
    theirs = compare_in_environment(tmp_path, {"counter": Counter, "speller": Speller}, dataset)
    texts = build_chat_tokenizer().batch_decode(theirs.turns[0]["prompt_ids"])
    assert ["count(step)" in text for text in texts] == ([True] * 4 + [False] * 4) * 2
    assert ["spell(word)" in text for text in texts] == ([False] * 4 + [True] * 4) * 2
    names = {entry[0] for log in theirs.rewards[0]["environments"] for entry in log}
    assert names == {"reset", "count", "spell"}


def test_an_environment_that_owns_the_data(tmp_path):
    theirs = compare_in_environment(tmp_path, Counter, None)
    assert "from 5 " in build_chat_tokenizer().decode(theirs.turns[0]["prompt_ids"][0])


def test_an_environment_is_all_the_reward_there_is(tmp_path):
    """Without reward functions and without a check of one."""

    def build(trainer_class, **settings):
        return build_with_environment(
            tmp_path, trainer_class, Counter, build_chat_dataset(), reward_funcs=[], **settings
        )

    theirs, _ = compare_with_trl(tmp_path, build, has_recorder=False)
    assert theirs.logs[0]["reward"] == theirs.logs[0]["rewards/Counter/mean"]


# Custom rollouts ---------------------------------------------------------------------------------------------------


def roll_out_in_python(prompts, trainer):
    """Answers with the feedback of an environment in between, which is masked, and fields of its own."""
    tokenizer = trainer.processing_class
    trainer.turns.append(freeze(prompts))
    rollout = {"prompt_ids": [], "completion_ids": [], "logprobs": [], "env_mask": [], "steps": [], "mood": "calm"}
    for index, prompt in enumerate(prompts):
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
        parts = [tokenizer(text)["input_ids"] for text in (f"{index:b}", "~feedback~", f"abc{index}<|im_end|>")]
        rollout["prompt_ids"].append(ids)
        rollout["completion_ids"].append(sum(parts, []))
        rollout["env_mask"].append([1] * len(parts[0]) + [0] * len(parts[1]) + [1] * len(parts[2]))
        rollout["logprobs"].append([-1.0] * len(rollout["completion_ids"][-1]))
        rollout["steps"].append(index % 3)
    return rollout


def test_custom_rollouts_with_a_mask_and_fields(tmp_path):
    def build(trainer_class, **settings):
        rollout = {"trainer_kwargs": {"rollout_func": roll_out_in_python}}
        return build_chat_trainer(tmp_path, trainer_class, train_dataset=build_chat_dataset(), **rollout, **settings)

    theirs, _ = compare_with_trl(tmp_path, build)
    assert theirs.rewards[0]["steps"] == [index % 3 for index in range(16)]
    assert theirs.rewards[0]["mood"] == ["calm"] * 16
    assert "env_mask" not in theirs.rewards[0]
    trainer = build(ScriptedForking, **ONE_BATCH)
    batch = roll_out(trainer)
    feedback = torch.zeros(batch["completion_ids"].shape, dtype=torch.bool)
    for index, row in enumerate(feedback):
        start = len(f"{index:b}")
        row[start : start + len("~feedback~")] = True
    assert torch.equal(batch["tool_mask"] == 0, feedback)
    assert not (batch["kept"] & feedback).any() and not (batch["counted"] & feedback).any()
    assert (batch["sampling_per_token_logps"][batch["completion_mask"].bool()] == -1.0).all()
    assert_only_kept_tokens_are_trained(trainer, batch)
