"""Generation through vLLM: TRL's code runs unchanged, and the engine of vllm_stand_in.py replaces vLLM."""

import ast
import inspect
import itertools
import math

import pytest
import torch
from trl.generation import vllm_client, vllm_generation

from helpers import vllm_stand_in
from helpers.processes import run_steps
from helpers.tiny import (
    NUM_GENERATIONS,
    GradientSpy,
    build_trainer,
    compute_gradients,
    relative_error,
    roll_out,
)
from helpers.vllm_runs import CLIPPED, MODES, NOISE, ONE_BATCH, TRL, build, to_mode
from helpers.vllm_stand_in import CompletionOutput, Logprob, RequestOutput
from workers.layout_worker import resolve
from workers.vllm_worker import run_step


pytestmark = pytest.mark.slow  # fifteen seconds in all, with test_vllm_ratios.py


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch):
    vllm_stand_in.put_in_place(monkeypatch)


@pytest.fixture(params=["colocate", "server"])
def server(request):
    """Both ways to run vLLM: no server, and one."""
    if request.param == "colocate":
        yield None
    else:
        with vllm_stand_in.serve() as running:
            yield running


def merged_weights(model) -> dict[str, torch.Tensor]:
    """What the engine should hold: the weights, with the update of an adapter added to those it belongs to."""
    weights = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): parameter.detach().double()
        for name, parameter in model.named_parameters()
        if "lora_" not in name
    }
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            update = module.lora_B["default"].weight.double() @ module.lora_A["default"].weight.double()
            name = name.removeprefix("base_model.model.") + ".weight"
            weights[name] = weights[name] + module.scaling["default"] * update.detach()
    return weights


# The stand-in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [vllm_generation, vllm_client])
def test_stand_in_has_what_trl_takes_from_vllm(module):
    """All names that TRL imports from vLLM are replaced, but for structured outputs and vLLM before 0.28."""
    imports = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom)]
    from_vllm = [node for node in imports if node.level == 0 and node.module.split(".")[0] == "vllm"]
    names = {alias.asname or alias.name for node in from_vllm for alias in node.names}
    names -= {"StructuredOutputsParams", "NCCLTrainerSendWeightsArgs", "NCCLWeightTransferEngine"}
    assert names == set(vllm_stand_in.REPLACED[module]), f"TRL's {module.__name__} takes other names from vLLM now."


def test_answers_have_the_form_that_trl_promises(tmp_path, server):
    trainer, engine = build(tmp_path, server=server, temperature=0.7)
    prompts = [ids for ids in list(engine.numbers)[:3] for _ in range(NUM_GENERATIONS)]
    prompts = [list(ids) for ids in prompts]
    prompt_ids, answers, logprobs, token_ids = trainer.vllm_generation.generate(prompts, None, NUM_GENERATIONS)
    assert prompt_ids == prompts and len(answers) == 12
    assert token_ids == [[[token] for token in answer] for answer in answers]
    expected = engine.score(prompts, answers, temperature=0.7)
    assert [[value for (value,) in row] for row in logprobs] == expected


def test_trl_turns_nan_into_none():
    tokens = [{5: Logprob(-0.5, 2), 9: Logprob(-0.1, 1)}, {6: Logprob(math.nan, 1)}]
    logprobs, token_ids = vllm_generation.extract_logprobs([RequestOutput([3], [CompletionOutput(0, [5, 6], tokens)])])
    assert (logprobs, token_ids) == ([[[-0.1, -0.5], [None]]], [[[9, 5], [6]]])


# Weights -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("is_lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("num_iterations", [1, 2])
def test_weights_are_sent_once_before_each_generation(tmp_path, server, is_lora, num_iterations):
    settings = resolve({"lora": is_lora, "num_iterations": num_iterations, "max_steps": 4, "learning_rate": 0.5})
    trainer, engine = build(tmp_path, server=server, **settings)
    generate, seen = engine.generate, []

    def check_and_generate(*args):
        held = {name: parameter.detach().clone() for name, parameter in engine.model.named_parameters()}
        expected = merged_weights(trainer.model)
        assert held.keys() == expected.keys()
        for name, weight in held.items():
            torch.testing.assert_close(weight.double(), expected[name], rtol=1e-5, atol=1e-5)
        seen.append(torch.cat([weight.flatten() for weight in held.values()]))
        return generate(*args)

    engine.generate = check_and_generate
    trainer.train()
    events = [event for event in engine.events if event in ("load", "generate")]
    assert events == ["load", "generate"] * (4 // num_iterations)
    for before, after in zip(seen, seen[1:], strict=False):
        assert (after - before).abs().max() > 1e-3  # or weights of an earlier step would pass


def test_a_missing_synchronisation_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(vllm_generation.VLLMGeneration, "sync_weights", lambda self: None)
    trainer, _ = build(tmp_path)
    trainer.train()
    assert trainer.state.log_history[0]["sampling/sampling_logp_difference/mean"] > 0.5


def test_evaluation_generates_with_the_weights_of_its_step(tmp_path):
    dataset = build_trainer(tmp_path).train_dataset
    trainer, engine = build(
        tmp_path, per_device_eval_batch_size=16, trainer_kwargs={"eval_dataset": dataset}, learning_rate=0.5
    )
    trainer.train()
    metrics = trainer.evaluate()
    held, expected = dict(engine.model.named_parameters()), merged_weights(trainer.model)
    assert all(torch.equal(held[name].double(), expected[name]) for name in expected)
    assert metrics["eval_sampling/sampling_logp_difference/max"] < 1e-4
    assert metrics["eval_forking/kept_fraction"] == pytest.approx(0.2, abs=0.05)
    assert math.isfinite(metrics["eval_loss"])


@pytest.mark.slow
def test_sleep_mode_changes_nothing(tmp_path):
    """A sleeping engine loses its weights, also between an evaluation and the training step after it."""
    dataset = build_trainer(tmp_path).train_dataset.select(range(4))
    settings = {"max_steps": 2, "noise": NOISE, "learning_rate": 0.1, "trainer_kwargs": {"eval_dataset": dataset}}
    settings |= {"eval_strategy": "steps", "eval_steps": 1, "eval_on_start": True, "per_device_eval_batch_size": 16}
    awake, engine = build(tmp_path, **settings)
    asleep, sleeper = build(tmp_path, **settings, vllm_enable_sleep_mode=True)
    gradients = compute_gradients(awake)
    assert len(gradients) == 2 and all(map(torch.equal, gradients, compute_gradients(asleep)))
    assert engine.events.count("generate") == sleeper.events.count("generate") == 5
    assert engine.events.count("load") == 3 and sleeper.events.count("load") == 5


# Log-probabilities and gradients -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_engine_and_policy_agree_where_nothing_is_distorted(tmp_path, server, temperature):
    """Sampled answers too, at the temperature; the engine's own weights were other ones."""
    trainer, engine = build(tmp_path, server=server, temperature=temperature, max_steps=3, learning_rate=0.1)
    engine.is_sampling = True
    trainer.train()
    for logs in trainer.state.log_history[:3]:
        assert logs["sampling/sampling_logp_difference/max"] < 1e-4
        assert logs["sampling/importance_sampling_ratio/mean"] == pytest.approx(1.0, abs=1e-4)
    engine.uses_processed_logprobs = False
    trainer.model.train()
    roll_out(trainer)
    if temperature != 1.0:  # log-probabilities before the temperature, of which TRL warns
        assert trainer._metrics["train"]["sampling/sampling_logp_difference/mean"][-1] > 0.1


@pytest.mark.slow
def test_server_and_colocate_give_the_same_gradient(tmp_path):
    settings = {"noise": NOISE, "max_steps": 2, "learning_rate": 0.1}
    inside = compute_gradients(build(tmp_path, **settings)[0])
    with vllm_stand_in.serve() as server:
        outside = compute_gradients(build(tmp_path, server=server, **settings)[0])
    assert len(inside) == 2 and all(map(torch.equal, inside, outside))


# Forward passes, iterations and processes ----------------------------------------------------------------------------


def count_passes(trainer) -> int:
    calls = []
    handle = trainer.model.register_forward_hook(lambda *args: calls.append(1))
    roll_out(trainer)
    handle.remove()
    return len(calls)


@pytest.mark.parametrize("mode", MODES)
def test_entropies_come_from_the_pass_that_trl_makes(tmp_path, mode):
    settings = {**to_mode(mode), "per_device_train_batch_size": 16, "gradient_accumulation_steps": 4}
    ours, theirs = build(tmp_path, **settings)[0], build(tmp_path, **settings, **TRL)[0]
    assert count_passes(ours) == count_passes(theirs) == 4
    seen, alone = roll_out(ours), roll_out(build_trainer(tmp_path, **ONE_BATCH))
    assert torch.equal(seen["kept"], alone["kept"])
    torch.testing.assert_close(seen["entropies"][seen["counted"]], alone["entropies"][seen["counted"]])


def test_without_the_correction_the_rollout_is_scored_once_and_only_for_a_selection(tmp_path):
    settings = {**ONE_BATCH, "vllm_importance_sampling_correction": False}
    assert count_passes(build(tmp_path, **settings)[0]) == 1
    assert count_passes(build(tmp_path, **settings, top_entropy_quantile=1.0)[0]) == 0
    assert count_passes(build(tmp_path, **settings, **TRL)[0]) == 0


def test_dynamic_sampling_generates_several_rounds_with_the_same_weights(tmp_path, server):
    """The log-probabilities of an answer stay with it when a group of a later round takes the place of a zero-variance group."""
    batches = []

    class Recorder(GradientSpy):
        def _generate_and_score_completions(self, inputs):
            batches.append(super()._generate_and_score_completions(inputs))
            return batches[-1]

    settings = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "max_steps": 2}
    settings |= {"dynamic_sampling": True, "learning_rate": 0.1, "noise": NOISE}
    trainer, engine = build(tmp_path, Recorder, server=server, **settings)
    trainer.train()
    generations = [len(list(group)) for event, group in itertools.groupby(engine.events) if event == "generate"]
    assert len(generations) == 2 and max(generations) > 1 and engine.events.count("load") == 2
    prompts, answers, sampled = [
        [values[mask.bool()].tolist() for values, mask in zip(batches[-1][name], batches[-1][mask_name], strict=True)]
        for name, mask_name in (
            ("prompt_ids", "prompt_mask"),
            ("completion_ids", "completion_mask"),
            ("sampling_per_token_logps", "completion_mask"),
        )
    ]
    expected = engine.distort(prompts, answers, engine.score(prompts, answers, temperature=1.0))
    assert len(sampled) == 16
    for row, expected_row in zip(sampled, expected, strict=True):
        assert row == pytest.approx(expected_row, abs=1e-4)


LAYOUTS = [{"vllm_mode": "colocate", "vllm_importance_sampling_mode": m} for m in ("token_truncate", "sequence_mask")]
LAYOUTS = [{**settings, "noise": NOISE, "nan_share": 0.1} for settings in LAYOUTS]
# A server's answer cannot hold NaN: see docs/vllm.md.
LAYOUTS += [
    {"vllm_mode": "server", "vllm_importance_sampling_mode": "token_truncate", "noise": NOISE, "nan_share": 0.0}
]
LAYOUTS = [{**settings, **CLIPPED} for settings in LAYOUTS]


@pytest.fixture(scope="module")
def records_of_two_processes(tmp_path_factory) -> list[dict]:
    """Two processes x 4 steps of 8 answers each, started once for all settings."""
    split = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4}
    output_file = tmp_path_factory.mktemp("vllm") / "records.pt"
    return run_steps("vllm_worker.py", output_file, [{**settings, **split} for settings in LAYOUTS])


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(LAYOUTS)), ids=lambda i: "-".join(list(LAYOUTS[i].values())[:2]))
def test_two_processes_give_the_gradient_of_one(records_of_two_processes, index):
    whole, split = run_step({**LAYOUTS[index], **ONE_BATCH}), records_of_two_processes[index]
    assert split["num_processes"] == 2 and split["num_engines"] == (
        1 if LAYOUTS[index]["vllm_mode"] == "server" else 2
    )
    assert relative_error(split["gradient"], whole["gradient"]) < 1e-5
    assert split["difference"] == pytest.approx(whole["difference"], rel=0.1)
