"""Generation through vLLM: TRL's code runs unchanged, and the engine of vllm_stand_in.py replaces vLLM."""

import ast
import inspect
import itertools
import math

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer
from trl.generation import vllm_client, vllm_generation

from helpers import reference, vllm_stand_in
from helpers.processes import run_steps
from helpers.tiny import (
    LOSS_TYPES,
    NUM_GENERATIONS,
    GradientSpy,
    build_model,
    build_trainer,
    compute_gradients,
    compute_weight_change,
    relative_error,
    roll_out,
)
from helpers.vllm_stand_in import CompletionOutput, Logprob, RequestOutput, build_vllm_trainer
from workers.layout_worker import resolve
from workers.vllm_worker import run_step


pytestmark = pytest.mark.slow  # fifteen seconds in all


ONE_BATCH = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1}
TRL = {"trainer_class": GRPOTrainer, "config_class": GRPOConfig, "epsilon_high": 0.28}
MODES = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
LOWER, UPPER = 0.7, 1.5  # the noise below takes many ratios past both
CLIPPED = {"vllm_importance_sampling_clip_min": LOWER, "vllm_importance_sampling_clip_max": UPPER}
NOISE = 0.4


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


def build(tmp_path, *args, noise=0.0, nan_share=0.0, **settings):
    trainer, engine = build_vllm_trainer(tmp_path, *args, **settings)
    engine.noise, engine.nan_share = noise, nan_share
    return trainer, engine


def to_mode(mode: str) -> dict:
    return {"vllm_importance_sampling_mode": mode, **CLIPPED}


def reward_parity(completion_ids: list[list[int]], **kwargs) -> list[float]:
    """Tells most sampled answers to one prompt apart, which their lengths do not."""
    return [float(sum(ids) % 2) for ids in completion_ids]


# References: loops over tokens, in float64 ---------------------------------------------------------------------------


def expected_ratios(batch: dict, mode: str, lower: float = LOWER, upper: float = UPPER) -> list[list[float]]:
    """TRL's correction of what the engine sampled: policy over engine, by token or by answer; 1 where it said NaN."""
    old, sampled = batch["old_per_token_logps"].double().tolist(), batch["sampling_per_token_logps"].double().tolist()
    ratios = []
    for i, row in enumerate(batch["completion_mask"].tolist()):
        logs = [
            old[i][t] - sampled[i][t] if row[t] and not math.isnan(sampled[i][t]) else 0.0 for t in range(len(row))
        ]
        if mode.startswith("sequence"):
            logs = [sum(logs)] * len(row)
        values = [math.exp(value) for value in logs]
        if mode.endswith("truncate"):
            ratios.append([min(max(value, lower), upper) for value in values])
        else:
            ratios.append([value if lower <= value <= upper else 0.0 for value in values])
    return ratios


def expected_loss_and_gradient(logps, batch: dict, ratios: list[list[float]]) -> tuple[float, torch.Tensor]:
    """The paper's objective with every token's term times its ratio, over the number of kept tokens."""
    logps = logps.detach().double().requires_grad_()
    old, advantages = batch["old_per_token_logps"].double(), batch["advantages"].double().tolist()
    kept = [tuple(place) for place in batch["kept"].nonzero().tolist()]
    terms = [ratios[i][t] * reference.objective(logps, old, advantages, {(i, t)}, len(kept)) for i, t in kept]
    loss = -torch.stack(terms).sum()
    loss.backward()
    return loss.item(), logps.grad


def assert_equals_reference(gradient, logps, batch, ratios, loss=None) -> None:
    expected, expected_gradient = expected_loss_and_gradient(logps, batch, ratios)
    assert expected_gradient.any()
    if loss is not None:
        assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert relative_error(gradient.double(), expected_gradient) < 1e-5
    assert (gradient[~batch["kept"]] == 0).all()


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


# Log-probabilities and ratios ----------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("nan_share", "sparse"), [(0.0, True), (0.3, True), (0.3, False), (1.0, True)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("mode", MODES)
def test_loss_and_gradient_equal_a_reference(tmp_path, mode, nan_share, sparse):
    settings = {**ONE_BATCH, **to_mode(mode), "sparse_update": sparse, "noise": NOISE, "nan_share": nan_share}
    trainer, _ = build(tmp_path, GradientSpy, **settings)
    assert trainer._is_sparse == sparse
    batch = roll_out(trainer)
    ratios, mask = torch.tensor(expected_ratios(batch, mode)), batch["completion_mask"].bool()
    torch.testing.assert_close(batch["importance_sampling_ratio"].expand(mask.shape), ratios, rtol=1e-5, atol=1e-6)
    is_nan = batch["sampling_per_token_logps"].isnan() & mask
    assert is_nan.sum() / mask.sum() == pytest.approx(nan_share, abs=0.06)
    if nan_share == 1.0 or mode.startswith("token"):
        assert (batch["importance_sampling_ratio"].expand(mask.shape)[is_nan] == 1).all()
    if nan_share < 1.0:  # both limits act on trained tokens
        values = ratios[batch["kept"]]
        limits = (LOWER, UPPER) if mode.endswith("truncate") else (0.0, 0.0)
        assert all((values == limit).float().mean() > 0.02 for limit in limits) and (values != values[0]).any()

    logps = trainer.seen_logps.detach()  # of the pass that TRL makes over the rollout: all tokens
    shift = 0.3 * torch.randn(logps.shape, generator=torch.Generator().manual_seed(0))
    batch["old_per_token_logps"] = logps + shift  # a policy that has moved since, so that TRL clips too
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    assert_equals_reference(trainer.seen_logps.grad, logps, batch, ratios.tolist(), loss)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_rho_1_is_grpo_to_the_bit(tmp_path, mode):
    """Two steps on answers that the engine samples, with noise and NaN: losses, gradient norms and weights."""
    settings = {**to_mode(mode), "max_steps": 2, "learning_rate": 0.1, "noise": NOISE, "nan_share": 0.2}
    settings["reward_funcs"] = reward_parity
    plain, engine = build(tmp_path, **settings, **TRL, loss_type="dapo")
    forking, other_engine = build(tmp_path, **settings, top_entropy_quantile=1.0, sparse_update=False)
    engine.is_sampling = other_engine.is_sampling = True
    assert torch.equal(compute_weight_change(forking), compute_weight_change(plain))
    for ours, theirs in zip(forking.state.log_history[:2], plain.state.log_history[:2], strict=True):
        assert theirs["grad_norm"] > 0 and theirs["sampling/sampling_logp_difference/mean"] > 0.2
        for key in set(theirs) - {"step_time"}:
            assert ours[key] == theirs[key], key


@pytest.mark.slow
def test_server_and_colocate_give_the_same_gradient(tmp_path):
    settings = {"noise": NOISE, "max_steps": 2, "learning_rate": 0.1}
    inside = compute_gradients(build(tmp_path, **settings)[0])
    with vllm_stand_in.serve() as server:
        outside = compute_gradients(build(tmp_path, server=server, **settings)[0])
    assert len(inside) == 2 and all(map(torch.equal, inside, outside))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_sparse_and_dense_update_give_the_same_gradient(tmp_path, mode):
    settings = {**to_mode(mode), "noise": NOISE, "nan_share": 0.2}
    # Weights of 0.5 would double the rounding errors that either way has; these are closer to a real model's.
    sparse, dense = (
        compute_gradients(build(tmp_path, sparse_update=value, model=build_model(scale=0.2), **settings)[0])[0]
        for value in (True, False)
    )
    assert dense.any() and relative_error(sparse, dense) < 1e-6


@pytest.mark.parametrize(
    ("loss_type", "level"), [(name, "token") for name in LOSS_TYPES] + [("grpo", "sequence"), ("luspo", "sequence")]
)
def test_no_dropped_token_receives_gradient(tmp_path, loss_type, level):
    mode = "token_mask" if loss_type == "vespo" else "sequence_mask"  # TRL refuses sequence_mask with vespo
    settings = {"loss_type": loss_type, "importance_sampling_level": level, "sparse_update": False}
    trainer, _ = build(tmp_path, GradientSpy, **ONE_BATCH, **to_mode(mode), **settings, noise=0.1, nan_share=0.2)
    batch = roll_out(trainer)
    trainer._compute_loss(trainer.model, batch).backward()
    gradient, kept = trainer.seen_logps.grad, batch["kept"]
    assert (gradient[~kept] == 0).all()
    assert gradient[kept].count_nonzero() > 0.5 * kept.sum()


# NaN -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "nan_share"), [(mode, 0.3) for mode in MODES] + [("sequence_mask", 1.0)])
def test_nan_reaches_neither_weights_nor_metrics(tmp_path, mode, nan_share):
    trainer, _ = build(tmp_path, **to_mode(mode), noise=NOISE, nan_share=nan_share, max_steps=2, learning_rate=0.1)
    change = compute_weight_change(trainer)
    assert change.isfinite().all() and change.any()
    for logs in trainer.state.log_history[:2]:
        # TRL logs None where nothing is left to average: the clip ratios of single answers, which are not corrected.
        assert all(math.isfinite(value) for value in logs.values() if value is not None)
        difference = logs["sampling/sampling_logp_difference/mean"]  # of the tokens with a value
        assert difference == (0.0 if nan_share == 1.0 else pytest.approx(NOISE * math.sqrt(2 / math.pi), rel=0.15))


@pytest.mark.parametrize(
    "settings", [{"nan_share": 1.0}, {"nan_share": 0.3, "vllm_importance_sampling_correction": False}]
)
def test_without_usable_values_the_gradient_is_the_uncorrected_one(tmp_path, settings):
    """That of the same answers from anywhere else."""
    expected = compute_gradients(build_trainer(tmp_path, model=build_model(scale=0.2)))[0]
    trainer, engine = build(tmp_path, model=build_model(scale=0.2), noise=NOISE, **settings)
    assert relative_error(compute_gradients(trainer)[0], expected) < 1e-6
    assert "generate" in engine.events


def test_off_policy_mask_ignores_nan(tmp_path):
    """An answer is dropped where its mean log-ratio of engine to policy, NaN counted as 0, is past the threshold."""
    threshold, mode = 0.05, "token_truncate"
    settings = {**ONE_BATCH, **to_mode(mode), "off_policy_mask_threshold": threshold}
    trainer, _ = build(tmp_path, GradientSpy, noise=NOISE, nan_share=0.3, **settings)
    batch = roll_out(trainer)
    logps, ratios = trainer.seen_logps.detach(), expected_ratios(batch, mode)
    num_dropped = 0
    for i, row in enumerate(batch["completion_mask"].tolist()):
        logs = [batch["sampling_per_token_logps"][i, t].item() - logps[i, t].item() for t in range(len(row)) if row[t]]
        mean = sum(value for value in logs if not math.isnan(value)) / len(logs)
        if batch["advantages"][i] < 0 and mean > threshold:
            ratios[i] = [0.0] * len(row)
            num_dropped += 1
    assert 3 < num_dropped < (batch["advantages"] < 0).sum()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    assert_equals_reference(trainer.seen_logps.grad, logps, batch, ratios, loss)


# Ratios that overflow ------------------------------------------------------------------------------------------------

UNBOUNDED = {"vllm_importance_sampling_clip_min": LOWER, "vllm_importance_sampling_clip_max": None}


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("limits", [{}, UNBOUNDED], ids=["bounded", "unbounded"])
@pytest.mark.parametrize("mode", MODES)
def test_an_infinite_ratio_of_a_dropped_token_changes_nothing(tmp_path, mode, limits, sparse):
    """The engine found dropped tokens next to impossible: all, or, by answer, those of answers without others."""
    settings = {**ONE_BATCH, "vllm_importance_sampling_mode": mode, "sparse_update": sparse, **limits}
    trainer, engine = build(tmp_path, GradientSpy, **settings)
    gradients = []
    for _ in range(2):
        batch = roll_out(trainer)
        loss = trainer._compute_loss(trainer.model, batch)
        loss.backward()
        gradients.append(trainer.seen_logps.grad)
        dropped = batch["completion_mask"].bool() & ~batch["kept"]
        if mode.startswith("sequence"):
            dropped &= ~batch["kept"].any(1, keepdim=True)
        engine.overrides = dict.fromkeys(map(tuple, dropped.nonzero().tolist()), -1e4)
    assert len(engine.overrides) > 50 and loss.isfinite()
    assert (batch["sampling_per_token_logps"][dropped] == -1e4).all()
    assert torch.equal(gradients[1], gradients[0])


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


@pytest.mark.parametrize("mode", MODES)
def test_second_iteration_keeps_ratios_and_kept_tokens(tmp_path, mode):
    """Both steps on one rollout equal the reference; in the second the policy has moved and TRL clips."""
    passes = []

    class Recorder(GradientSpy):
        def _compute_loss(self, model, inputs):
            loss = super()._compute_loss(model, inputs)
            passes.append((self.seen_logps, inputs))
            return loss

    settings = {**ONE_BATCH, **to_mode(mode), "num_iterations": 2, "max_steps": 2, "learning_rate": 0.5}
    trainer, engine = build(tmp_path, Recorder, **settings, sparse_update=False, noise=NOISE, nan_share=0.1)
    trainer.train()
    assert engine.events.count("generate") == 1 and len(passes) == 2
    for logps, batch in passes:
        assert_equals_reference(logps.grad, logps, batch, expected_ratios(batch, mode))
    (logps, batch), (later, later_batch) = passes
    assert batch is later_batch or torch.equal(batch["kept"], later_batch["kept"])
    ratios = (later - later_batch["old_per_token_logps"])[later_batch["kept"]].exp()
    assert (ratios > 1.28).any() and (ratios < 0.8).any()
    torch.testing.assert_close(logps.detach(), batch["old_per_token_logps"], atol=1e-5, rtol=1e-5)


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
