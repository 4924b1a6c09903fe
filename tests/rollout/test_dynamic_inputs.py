"""Dynamic sampling with images, tools and environments: the recorded answers are trained as TRL would train them."""

import pytest
import torch

from helpers.scripted import Counter, Speller, act, add, build_seeing, dump, look, look_twice, run, shout, use_tools
from helpers.tiny import record_rollouts
from helpers.tiny_multimodal import (
    NUM_GENERATIONS,
    NUM_PROMPTS,
    ScriptedForking,
    build_chat_dataset,
    build_chat_trainer,
    build_image_dataset,
)
from trl_forking.rollout.tape import AlreadyReset


pytestmark = pytest.mark.filterwarnings("ignore:You are using 'environment_factory'")


def build_with_tools(tmp_path, **settings):
    tools = {"trainer_kwargs": {"tools": [add, shout, dump]}}
    return build_chat_trainer(tmp_path, train_dataset=build_chat_dataset(), script=use_tools, **tools, **settings)


def build_with_pictures_from_tools(tmp_path, **settings):
    tools = {"script": look_twice, "trainer_kwargs": {"tools": [look]}, "max_completion_length": 200}
    return build_seeing(tmp_path, "qwen2_5_vl", ScriptedForking, build_image_dataset(), **tools, **settings)


class Dull(Counter):
    """Gives no reward to the first prompt."""

    def reset(self, **row):
        self.is_first = row.get("number") == 0
        return super().reset(**row)

    def get_reward(self) -> float:
        return 0.0 if self.is_first else super().get_reward()


def build_in_environment(tmp_path, factory=Dull, dataset=None, **settings):
    dataset = build_chat_dataset() if dataset is None else dataset
    kwargs = {"trainer_kwargs": {"environment_factory": factory}}
    return build_chat_trainer(tmp_path, train_dataset=dataset, script=act, **kwargs, **settings)


def build_in_environments(tmp_path, **settings):
    dataset = build_chat_dataset(environment=["counter", "speller"] * (NUM_PROMPTS // 2))
    return build_in_environment(tmp_path, {"counter": Dull, "speller": Speller}, dataset, **settings)


def build_with_images(name):
    return lambda tmp_path, **settings: build_seeing(tmp_path, name, ScriptedForking, script=look_words, **settings)


def look_words(prompt, source):
    return f"{''.join(source.choices('abcd', k=source.randint(2, 9)))}<|im_end|>"


def build_in_environment_with_images(tmp_path, **settings):
    kwargs = {"script": look_words, "trainer_kwargs": {"environment_factory": Dull}}
    return build_seeing(tmp_path, "qwen2_5_vl", ScriptedForking, build_image_dataset(), **kwargs, **settings)


BUILDERS = {
    "images": build_with_images("qwen2_5_vl"),
    "image-sizes": build_with_images("llava_next"),
    "tools": build_with_tools,
    "pictures-from-tools": build_with_pictures_from_tools,
    "environment": build_in_environment,
    "environments": build_in_environments,
    "environment-with-images": build_in_environment_with_images,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_one_round_is_training_without_it(tmp_path, name):
    plain = run(BUILDERS[name](tmp_path))
    played = run(BUILDERS[name](tmp_path, dynamic_sampling=True, dynamic_sampling_max_rounds=1))
    assert plain.gradient.any() and torch.equal(played.gradient, plain.gradient)
    assert played.passes == plain.passes
    assert played.rewards == plain.rewards
    assert played.turns == plain.turns


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_rounds_mix(tmp_path, name):
    """The group of prompt 0 is never informative: its slot goes to a group of a later round, with images and tool output of its own."""
    trainer = BUILDERS[name](tmp_path, dynamic_sampling=True)
    rollouts = record_rollouts(trainer)
    result = run(trainer)
    assert result.gradient.any()
    inputs, batch = rollouts[0].inputs, rollouts[0].batch
    assert result.logs[0]["forking/sampling_rounds"] > 1
    numbers = [row["number"] for row in inputs]
    assert 0 not in numbers[:NUM_GENERATIONS]
    assert (batch["advantages"].view(-1, NUM_GENERATIONS) != 0).any(1).all()
    if "images" in inputs[0]:
        count = [len(row["images"]) for row in inputs]
        assert batch["num_images"][::NUM_GENERATIONS] >= count[::NUM_GENERATIONS]  # and those that tools returned


def test_no_environment_is_set_up_twice(tmp_path):
    resets = []

    class Counted(Dull):
        def reset(self, **row):
            resets.append(row["number"])
            return super().reset(**row)

    trainer = build_in_environment(tmp_path, Counted, dynamic_sampling=True)
    trainer.train()
    generated = sum(len(turn["prompt_ids"]) for turn in trainer.turns[:1])
    assert generated == 16 and len(resets) > 16
    assert len(resets) == int(trainer.state.log_history[0]["forking/informative_groups"] ** -1 * 16 + 0.5)
    assert isinstance(trainer._environment_pool[None][0], Counted)  # for the next rollout
    assert not any(isinstance(entry, AlreadyReset) for entry in trainer._environment_pool[None])


def test_logged_prompts_have_what_the_environment_observed(tmp_path):
    import pandas

    trainer = build_in_environment(
        tmp_path, dynamic_sampling=True, log_completions=True, num_completions_to_print=0, log_unique_prompts=False
    )
    trainer.train()
    table = pandas.read_parquet(tmp_path / "completions" / "completions_00001.parquet")
    assert all("from " in prompt[-1]["content"] for prompt in table["prompt"])


def test_an_environment_that_owns_the_data(tmp_path):
    kwargs = {"trainer_kwargs": {"environment_factory": Counter}}
    trainer = build_chat_trainer(tmp_path, train_dataset=None, script=act, **kwargs, dynamic_sampling=True)
    trainer.train()
    assert trainer.state.log_history[0]["forking/sampling_rounds"] >= 1
