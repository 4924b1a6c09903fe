"""What this library relies on in TRL's rollouts. Each test fails with a sentence that names what has changed."""

import ast
import inspect
import io
import textwrap
from contextlib import suppress

import pandas
import pytest
import torch
from rich.console import Console
from trl import GRPOConfig, GRPOTrainer
from trl.trainer import utils
from trl.trainer.utils import shuffle_sequence_dict, split_tensor_dict

from helpers.tiny import (
    NUM_GENERATIONS,
    build_answer,
    build_dataset,
    build_trainer,
    replay_fixed_answers,
    reward_fixed,
    roll_out,
)
from trl_forking.rollout.tape import GENERATED
from trl_forking.run.reward_checks import check_rewards


NUM_ANSWERS = 16


def build(output_dir, trainer_class=GRPOTrainer, **settings):
    """TRL's own trainer with four prompts, whose sixteen answers are one batch."""
    one_batch = {"per_device_train_batch_size": NUM_ANSWERS, "gradient_accumulation_steps": 1, "epsilon_high": 0.28}
    return build_trainer(
        output_dir, trainer_class, GRPOConfig, train_dataset=build_dataset(4), **(one_batch | settings)
    )


# The two methods that make a rollout ------------------------------------------------------------------------------------


class Listener(GRPOTrainer):
    """Notes what the two methods that make a rollout return, and in which order they and the scoring are called."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls, self.returned = [], {}

    def _generate(self, prompts):
        self.calls.append("_generate")
        self.returned["_generate"] = super()._generate(prompts)
        return self.returned["_generate"]

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        self.calls.append("score")
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        self.calls.append("_calculate_rewards")
        self.rows = inputs
        self.pending = {name: list(values) for name, values in self._pending_extra_logs.items()}
        self.returned["_calculate_rewards"] = super()._calculate_rewards(
            inputs, prompts, completions, completion_ids_list
        )
        self.logged = {name: list(values) for name, values in self._pending_extra_logs.items()}
        return self.returned["_calculate_rewards"]


def test_a_rollout_is_made_by_two_methods(tmp_path):
    trainer = build(tmp_path, Listener, num_iterations=2)
    roll_out(trainer)
    assert trainer.calls == ["_generate", "score", "_calculate_rewards"], (
        "TRL's GRPOTrainer._generate_and_score_completions no longer calls _generate, the scoring function and then "
        f"_calculate_rewards, each once, but {trainer.calls}."
    )
    assert len(trainer.returned["_generate"]) == len(GENERATED), (
        f"TRL's GRPOTrainer._generate returns {len(trainer.returned['_generate'])} values, and no longer "
        f"({', '.join(GENERATED)}): RolloutTape splits them by answer."
    )
    generated = dict(zip(GENERATED, trainer.returned["_generate"], strict=True))
    answers = [build_answer(number, sample) for number in range(4) for sample in range(NUM_GENERATIONS)]
    lists = [generated[name] for name in ("prompt_ids", "completion_ids", "completions")]
    assert generated["completion_ids"] == answers and all(
        isinstance(value, list) and len(value) == NUM_ANSWERS for value in lists
    ), "TRL's GRPOTrainer._generate no longer returns lists with an entry per answer, in the order of the rows."
    nothing = {"tool_mask": None, "logprobs": None, "extra_fields": {}, "images": None, "tool_images": []}
    assert {name: generated[name] for name in nothing} == nothing, (
        f"TRL's GRPOTrainer._generate no longer returns ({', '.join(GENERATED)}), or nothing of a kind in another way."
    )
    assert trainer.returned["_calculate_rewards"].shape == (NUM_ANSWERS, 1), (
        "TRL's GRPOTrainer._calculate_rewards no longer returns the rewards of all processes, (answers, functions)."
    )


class Replaced(GRPOTrainer):
    """Answers and judges in place of TRL, as `RolloutTape` does when it plays a rollout back."""

    def _generate(self, prompts):
        ids = [build_answer(9, index) for index in range(len(prompts))]
        return [[3]] * len(prompts), ids, None, ["w3"] * len(prompts), None, {}, None, []

    def _calculate_rewards(self, inputs, *args):
        return (torch.arange(len(inputs)) % NUM_GENERATIONS == 1).float().unsqueeze(1)


def test_a_rollout_is_what_the_two_methods_return(tmp_path):
    trainer = build(tmp_path, Replaced)
    batch = roll_out(trainer)
    ids = [
        row[mask.bool()].tolist() for row, mask in zip(batch["completion_ids"], batch["completion_mask"], strict=True)
    ]
    assert ids == [build_answer(9, index) for index in range(NUM_ANSWERS)], (
        "TRL no longer makes the rollout batch of what GRPOTrainer._generate returns, padded on the right: dynamic "
        "sampling plays chosen answers back through it."
    )
    best = [row % NUM_GENERATIONS == 1 for row in range(NUM_ANSWERS)]
    assert batch["advantages"].shape == (NUM_ANSWERS,) and (batch["advantages"] > 0).tolist() == best, (
        "TRL no longer makes the advantages, one per answer, of what GRPOTrainer._calculate_rewards returns, with "
        "the answers of a group one after the other: dynamic sampling plays rewards back through it."
    )
    assert list(trainer._logs["rewards"]["reward_fixed"]) == [float(is_best) for is_best in best], (
        "TRL no longer logs the rewards that GRPOTrainer._calculate_rewards returns."
    )


def test_a_rollout_has_the_tensors_we_read(tmp_path):
    batch = roll_out(build(tmp_path))
    names = {"prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "num_items_in_batch"}
    assert names <= set(batch), f"TRL's rollout batch no longer has {sorted(names - set(batch))}."
    assert batch["prompt_mask"][:, -1].all() and not batch["prompt_mask"][:, 0].all(), (
        "TRL no longer pads prompts on the left: the sparse update takes the last columns for the answers'."
    )
    assert batch["completion_mask"][:, 0].all() and not batch["completion_mask"][:, -1].all(), (
        "TRL no longer pads answers on the right: the sparse update cuts off what is behind the last chosen column."
    )


def test_what_a_model_sees_beside_tokens_goes_by_the_names_of_the_scoring_function():
    """A rollout is scored by handing on what is in the batch under the names of parameters."""
    source = ast.parse(textwrap.dedent(inspect.getsource(GRPOTrainer._generate_and_score_completions)))
    in_batch = {
        node.slice.value
        for node in ast.walk(source)
        if isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "output"
    }
    ours = {"old_per_token_logps", "importance_sampling_ratio", "sampling_per_token_logps", "ref_per_token_logps"}
    parameters = set(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)
    assert {"pixel_values", "image_grid_thw", "num_images", "tool_mask"} <= in_batch, (
        "TRL no longer puts images and tool_mask into the rollout batch under these names."
    )
    assert in_batch - ours - {"tool_mask"} <= parameters, (
        f"TRL's rollout batch has {sorted(in_batch - ours - {'tool_mask'} - parameters)}, which its scoring function does "
        "not take by that name: the entropies of a rollout would be those of a model that does not see it."
    )


def test_an_exception_in_the_rewards_ends_a_rollout_before_it_is_logged(tmp_path):
    """`RolloutTape` ends a round so: what its answers cost is logged, and nothing of what is not trained."""

    class Ended(GRPOTrainer):
        def _calculate_rewards(self, *args):
            raise ArithmeticError

    trainer = build(tmp_path, Ended, num_iterations=2)
    with pytest.raises(ArithmeticError):
        roll_out(trainer)
    metrics = trainer._metrics["train"]
    assert not trainer._logs["prompt"] and "reward" not in metrics, (
        "TRL now logs prompts and rewards before GRPOTrainer._calculate_rewards has returned."
    )
    assert {len(values) for values in metrics.values()} == {1} and "completions/mean_length" in metrics, (
        "TRL no longer adds one value to each of the metrics of generation: of several rounds we keep the first's."
    )
    assert torch.is_grad_enabled(), "TRL leaves gradients off where a rollout is ended by an exception."


def test_off_policy_rollouts_are_scored_upstream(tmp_path):
    aligned, reused = roll_out(build(tmp_path)), roll_out(build(tmp_path, num_iterations=2))
    assert "old_per_token_logps" not in aligned and "old_per_token_logps" in reused, (
        "TRL changed when it scores a rollout batch itself: the entropies of that pass are taken."
    )


def test_generation_calls_the_model_once_for_each_token(tmp_path):
    """`SampledEntropies` takes the entropies of the answers from these calls, by a forward hook on the model."""
    trainer = build(tmp_path, rollout_func=None, generation_kwargs={"do_sample": False})
    calls = []

    def note(module, args, kwargs, output):
        calls.append((kwargs["input_ids"][:, -1].tolist(), output.logits[:, -1].argmax(1).tolist()))

    trainer.model.register_forward_hook(note, with_kwargs=True)
    prompt_ids, completion_ids, *_ = trainer._generate([row["prompt"] for row in trainer.train_dataset])
    for row, (prompt, ids) in enumerate(zip(prompt_ids, completion_ids, strict=True)):
        seen, drawn = ([call[part][row] for call in calls[: len(ids)]] for part in (0, 1))
        assert drawn == ids, (
            "Transformers no longer draws token t of an answer from the logits of the last position of call t, to which "
            "it passes every answer in the order of the prompts: SampledEntropies takes the entropies from there."
        )
        assert seen == [*prompt[-1:], *ids[:-1]], (
            "Transformers no longer passes the newest token of each answer as the last of input_ids, by name: "
            "SampledEntropies finds by them that a call belongs to a token."
        )


def test_environments_are_set_up_from_a_pool():
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    for line in ("self._environment_pool[name]", "self.environment_factories[name]()", ".reset(**"):
        assert line in source, (
            f"TRL's GRPOTrainer no longer sets environments up by {line}: when a rollout is played back, RolloutTape puts "
            "others in their place, that are reset already."
        )


# Rewards --------------------------------------------------------------------------------------------------------------


def test_a_rollout_func_writes_fields_into_the_rows_and_a_mask_into_the_batch(tmp_path):
    def replay(prompts, trainer):
        replayed = replay_fixed_answers(prompts, trainer)
        mask = [[1] * (len(ids) - 1) + [0] for ids in replayed["completion_ids"]]
        return replayed | {"source": list(range(len(prompts))), "env_mask": mask}

    trainer = build(tmp_path, Listener, rollout_func=replay)
    batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    assert [row.get("source") for row in trainer.rows] == list(range(NUM_ANSWERS)), (
        "TRL no longer writes the extra fields of a rollout_func into the rows before the rewards: RolloutTape finds "
        "them there."
    )
    dropped = batch["completion_mask"].bool() & ~batch.get("tool_mask", torch.tensor(1)).bool()
    assert dropped.sum(1).tolist() == [1] * NUM_ANSWERS, (
        "TRL no longer puts the env_mask of a rollout_func into the batch as tool_mask, 0 where no loss is."
    )
    assert batch["num_items_in_batch"] == batch["completion_mask"].sum() - NUM_ANSWERS, (
        "TRL's num_items_in_batch no longer leaves out what tool_mask does."
    )


def test_rewards_are_called_as_we_try_them(tmp_path):
    seen = []

    def reward(**kwargs):
        seen.append(kwargs)
        return [None] * len(kwargs["completions"])

    trainer = build(tmp_path, Listener, reward_funcs=reward)
    reward.__module__ = "trl.rewards.made_up"  # only such a function is tried
    check_rewards(reward, trainer.train_dataset)
    roll_out(trainer)
    ours, theirs = ({name: type(value) for name, value in kwargs.items()} for kwargs in seen)
    callables = {"log_extra": object, "log_metric": object}
    assert ours | callables == theirs | callables, (
        f"TRL calls reward functions with {theirs}, and check_rewards tries them with {ours}."
    )
    assert trainer.returned["_calculate_rewards"].isnan().all(), (
        "TRL no longer turns None of a reward function into NaN: find_informative_groups leaves NaN out."
    )


def test_columns_of_rewards_wait_until_a_rollout_is_complete(tmp_path):
    def reward(completions, log_extra, **kwargs):
        log_extra("length", [len(text) for text in completions])
        return [0.0] * len(completions)

    trainer = build(tmp_path, Listener, reward_funcs=reward)
    roll_out(trainer)
    assert trainer.pending == {} and len(trainer.logged.get("length", [])) == NUM_ANSWERS, (
        "TRL no longer keeps what a reward function logs in GRPOTrainer._pending_extra_logs, one value an answer: "
        "RolloutTape takes it from there and puts it back."
    )
    assert list(trainer._logs["extra"]["length"]) == trainer.logged["length"] and not trainer._pending_extra_logs, (
        "TRL no longer moves GRPOTrainer._pending_extra_logs into the completions table at the end of a rollout."
    )


def test_reward_of_an_answer_is_the_weighted_sum_of_its_functions(tmp_path):
    trainer = build(tmp_path, Listener, reward_funcs=[reward_fixed, lambda **kwargs: [0.5] * NUM_ANSWERS])
    trainer.reward_weights = torch.tensor([1.0, 2.0])
    roll_out(trainer)
    rewards = trainer.returned["_calculate_rewards"]
    assert trainer._metrics["train"]["reward"] == [pytest.approx((rewards @ trainer.reward_weights).mean().item())], (
        "TRL's reward of an answer is no longer the sum of its functions by GRPOTrainer.reward_weights, in their order: "
        "find_informative_groups sums so."
    )


def test_groups_lie_side_by_side(tmp_path):
    trainer = build(tmp_path)
    assert [row["number"] for row in next(iter(trainer.get_train_dataloader()))] == [
        number for number in range(4) for _ in range(NUM_GENERATIONS)
    ], "TRL no longer hands out the answers of a group one after the other, num_generations rows for each prompt."


# The buffer -----------------------------------------------------------------------------------------------------------


def test_extra_tensors_travel_with_the_rollout():
    batch = {
        "row_ids": torch.arange(8),
        "kept": torch.arange(8).unsqueeze(1) % 2 == 0,
        "batch_weight": torch.tensor(5.0),
    }
    parts = split_tensor_dict(shuffle_sequence_dict(batch), 4)
    assert all(torch.equal(part["kept"].squeeze(1), part["row_ids"] % 2 == 0) for part in parts), (
        "TRL no longer shuffles and splits all tensors of a rollout batch together."
    )
    assert all(part["batch_weight"] == 5.0 for part in parts), (
        "TRL no longer hands scalars of a rollout batch through."
    )


def test_a_rollout_is_buffered_in_parts_by_the_number_of_the_step(tmp_path):
    """Checkpoints save `_buffered_inputs` and `_step`, and a run goes on from them in the midst of a rollout."""

    made_at = []

    class Buffering(GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            made_at.append(self._step)
            return super()._generate_and_score_completions(inputs) | {"row_ids": torch.arange(len(inputs))}

    trainer = build(
        tmp_path, Buffering, per_device_train_batch_size=4, gradient_accumulation_steps=4, num_iterations=2
    )
    rows = next(iter(trainer.get_train_dataloader()))
    for trainer._step in range(9):
        part = trainer._prepare_inputs(rows)
        assert part is trainer._buffered_inputs[trainer._step % 4], (
            "TRL no longer trains part number _step % steps_per_generation of GRPOTrainer._buffered_inputs."
        )
    assert made_at == [0, 8], (
        "TRL no longer makes a rollout when _step is a multiple of steps_per_generation * num_iterations, and then only: "
        f"of nine steps, {made_at} made one."
    )
    row_ids = torch.cat([part["row_ids"] for part in trainer._buffered_inputs])
    assert len(trainer._buffered_inputs) == 4 and sorted(row_ids.tolist()) == list(range(NUM_ANSWERS)), (
        "TRL no longer splits a rollout batch, with what was added to it, into steps_per_generation parts."
    )
    trainer._step, trainer._buffered_inputs = 9, None
    with suppress(TypeError):
        trainer._prepare_inputs(rows)
    assert made_at == [0, 8, 9], (
        "TRL no longer makes a rollout where _buffered_inputs is None: a run that goes on with another batch layout needs one."
    )


# Tables ---------------------------------------------------------------------------------------------------------------


def test_logs_hold_the_newest_rollout(tmp_path):
    """Our columns stand beside the prompts and rewards of the same answers."""
    trainer = build(tmp_path)
    for text in ("first", "second"):
        roll_out(trainer)
        trainer._logs["extra"]["tokens"].extend([text] * NUM_ANSWERS)
    kept = [trainer._logs["prompt"], trainer._logs["rewards"]["reward_fixed"], trainer._logs["extra"]["tokens"]]
    assert [len(column) for column in kept] == [NUM_ANSWERS] * 3 and set(kept[2]) == {"second"}, (
        "TRL's GRPOTrainer._logs no longer holds prompt, rewards by function and extra by column, of the answers of one "
        "rollout, the newest."
    )


def test_completion_table_takes_extra_columns(tmp_path):
    trainer = build(tmp_path, log_completions=True, num_completions_to_print=0)
    trainer._logs["extra"]["kept"].extend([[True, False]] * NUM_ANSWERS)
    trainer.train()
    path = tmp_path / "completions" / "completions_00001.parquet"
    assert path.is_file(), "TRL no longer writes completions/completions_<step>.parquet, with five digits of the step."
    table = pandas.read_parquet(path)
    assert "kept" in table and list(table["kept"][0]) == [True, False], (
        "TRL no longer writes the columns of GRPOTrainer._logs['extra'] into the completions table."
    )


def test_terminal_table_prints_extra_columns_as_text(monkeypatch):
    class Short(list):
        def __str__(self):
            return "few words"

    written = io.StringIO()
    monkeypatch.setattr(utils, "Console", lambda: Console(file=written, width=200))
    utils.print_prompt_completions_sample(["w3"], ["w4"], {"r": [1.0]}, [0.0], 1, extra={"kept": [Short([True] * 9)]})
    assert "few words" in written.getvalue() and "True" not in written.getvalue(), (
        "TRL's terminal table no longer prints the extra columns by str(): lists of entropies would fill the screen."
    )
