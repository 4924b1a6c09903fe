"""Entropies that are taken while Transformers samples are those of a scoring pass, and where they cannot be, one is made."""

import pytest
import torch
from peft import LoraConfig
from transformers import Gemma2Config, Gemma2ForCausalLM

from helpers.processes import run_steps
from helpers.tiny import build_model, build_trainer, replay_fixed_answers, roll_out
from helpers.tiny_multimodal import build_chat_trainer, build_image_dataset, build_vision_model
from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer
from trl_forking.countdown import (
    MAX_COMPLETION_LENGTH,
    countdown_reward,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
)
from trl_forking.rollout.sampled_entropies import SampledEntropies, record_entropies
from trl_forking.selection.entropies import compute_entropies
from workers.sampled_entropies_worker import run_step


ONE_BATCH = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1}
TOLERANCE = 1e-5  # nats
GRID = 2.0**-16  # of `round_entropies`


class Counter(ForkingGRPOTrainer):
    """Counts its scoring passes, and the passes that TRL makes beside them."""

    num_passes = num_scored = 0

    def score_rollout(self, *args, **kwargs):
        self.num_scored += 1
        return super().score_rollout(*args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        self.num_passes += 1
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)


def build(tmp_path, **settings):
    return build_trainer(tmp_path, Counter, **(ONE_BATCH | {"rollout_func": None} | settings))


def compute_error(trainer, batch) -> float:
    """The largest distance of the entropies of a batch from those of a scoring pass."""
    scored, mask = trainer.score_rollout(batch), batch["completion_mask"].bool()
    assert scored[mask].max() > 0.5 and mask.sum() > 40
    return (batch["entropies"] - scored)[mask].abs().max().item()


# While sampling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5, "top_k": 4, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.3},
        {"temperature": 2.0, "pad_to_multiple_of": 8},
        {"generation_kwargs": {"do_sample": False}},
        {"generation_kwargs": {"use_cache": False}},
        {"generation_kwargs": {"cache_implementation": "static"}},
        {"generation_kwargs": {"bad_words_ids": [[5], [6, 7]], "min_new_tokens": 3}},
        {"mask_truncated_completions": True},
        {"selection_scope": "sequence", "loss_type": "grpo"},
        {"top_entropy_quantile": 1.0, "log_entropy": True, "log_completions": True, "num_completions_to_print": 0},
        {"cast_lm_head_to_fp32": True},
        {"trainer_kwargs": {"peft_config": LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)}},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_entropies_are_those_of_a_scoring_pass(tmp_path, settings):
    trainer = build(tmp_path, **settings)
    batch = roll_out(trainer)
    assert trainer.num_passes == 0
    masked = settings.get("mask_truncated_completions")  # a scoring pass does not see the tokens of a masked answer
    assert masked or not batch["entropies"][~batch["completion_mask"].bool()].any()
    assert compute_error(trainer, batch) < TOLERANCE


def test_a_model_that_caps_and_scales_its_logits(tmp_path):
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "head_dim": 8, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "final_logit_softcapping": 3.0, "sliding_window": 4}
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(Gemma2Config(**sizes, **heads, pad_token_id=0, eos_token_id=1, bos_token_id=None))
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(std=0.5)
    trainer = build(tmp_path, model=model, temperature=0.8)
    assert compute_error(trainer, roll_out(trainer)) < TOLERANCE and trainer.num_passes == 1


def test_a_model_that_sees_images(tmp_path):
    model, processor = build_vision_model("qwen2_5_vl")
    settings = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "max_completion_length": 8}
    data = {"processing_class": processor, "train_dataset": build_image_dataset()}
    trainer = build_chat_trainer(tmp_path, Counter, model, **data, **settings)
    batch = roll_out(trainer)
    assert trainer.num_passes == 0
    assert compute_error(trainer, batch) < TOLERANCE


def test_training_and_evaluation_on_the_built_in_task_make_no_scoring_pass(tmp_path):
    args = ForkingGRPOConfig(
        str(tmp_path),
        per_device_train_batch_size=16,
        gradient_accumulation_steps=2,
        per_device_eval_batch_size=16,
        max_completion_length=MAX_COMPLETION_LENGTH,
        num_generations=4,
        max_steps=2,
        learning_rate=1e-4,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Counter(
        model=load_countdown_model(),
        reward_funcs=countdown_reward,
        args=args,
        train_dataset=make_countdown_dataset("train", num_problems=16, seed=0),
        eval_dataset=make_countdown_dataset("eval", num_problems=4, seed=0),
        processing_class=load_countdown_tokenizer(),
    )
    errors, generate = [], trainer._generate_and_score_completions

    def compare(inputs):
        batch = generate(inputs)
        assert trainer.num_scored == len(errors)  # those of this comparison
        errors.append(compute_error(trainer, batch))
        return batch

    trainer._generate_and_score_completions = compare
    trainer.train()
    trainer.evaluate()
    assert len(errors) == 3 and max(errors) < TOLERANCE


def test_answers_of_several_rounds_keep_their_entropies(tmp_path):
    trainer = build(tmp_path, dynamic_sampling=True, per_device_train_batch_size=32)
    batch = roll_out(trainer)
    assert trainer.metric_means.pop()["sampling_rounds"] > 1
    assert trainer.num_passes == 0
    assert compute_error(trainer, batch) < TOLERANCE


LAYOUTS = [(64, 1), (8, 8)]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "zero3", "fsdp2"])
def test_two_processes_keep_the_tokens_of_one(strategy, tmp_path):
    """The same answers, sampled in batches of 64 and of 32 that are padded differently, and by a sharded model."""
    settings = {"draws_by_row": True, "count_zero_advantage": True}
    both = [settings, {"dynamic_sampling": True}]
    split, dynamic = run_steps("sampled_entropies_worker.py", tmp_path / "records.pt", both, strategy)
    for size, steps in LAYOUTS:
        whole = run_step(settings | {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps})
        assert whole["answers"] == split["answers"] and whole["kept"] == split["kept"]
        assert whole["num_scoring_passes"] == 0 and len(whole["kept"]) > 100
    assert dynamic["rounds"] > 1
    for record in (split, dynamic):
        assert record["num_scoring_passes"] == 0 and record["error"] < TOLERANCE


class Forced:
    """A logits processor that lets given answers be drawn."""

    def __init__(self, answers, num_prompt_tokens):
        self.answers, self.num_prompt_tokens = answers, num_prompt_tokens

    def __call__(self, input_ids, scores):
        tokens = self.answers[:, input_ids.size(1) - self.num_prompt_tokens]
        return torch.full_like(scores, -torch.inf).scatter(1, tokens.unsqueeze(1), 0.0)


def sample(model, prompts, answers, padding):
    """Let answers be drawn in one batch whose prompts have more padding than they need, and return their entropies."""
    ids = torch.nn.functional.pad(prompts, (padding, 0))
    mask = torch.nn.functional.pad(torch.ones_like(prompts), (padding, 0))
    forced = [Forced(answers, ids.size(1))]
    settings = {"max_new_tokens": answers.size(1), "eos_token_id": None, "pad_token_id": 0, "logits_processor": forced}
    with record_entropies(model, temperature=1.0) as sampled:
        model.generate(ids, attention_mask=mask, **settings)
    return torch.stack(sampled.split(ids.tolist(), answers.tolist()))


@pytest.mark.parametrize("build_causal_model", [load_countdown_model, build_model])
def test_padding_and_size_of_a_batch_stay_below_the_grid(build_causal_model):
    model = build_causal_model().eval()
    vocabulary = model.config.vocab_size
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(3, vocabulary, (32, 6), generator=generator)
    answers = torch.randint(3, vocabulary, (32, 20), generator=generator)
    whole = sample(model, prompts, answers, padding=0)
    for size, padding in ((3, 0), (16, 5), (32, 40)):
        parts = zip(prompts.split(size), answers.split(size), strict=True)
        entropies = torch.cat([sample(model, *part, padding) for part in parts])
        errors = (entropies - whole).abs()
        assert errors.max() < GRID and errors.mean() < GRID / 10


# A scoring pass where they cannot be taken -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"entropy_from_generation": False},
        {"rollout_func": replay_fixed_answers},
        {"model": build_model(attention_dropout=0.5)},
        {"generation_kwargs": {"num_beams": 2}},
        {"generation_kwargs": {"prefill_chunk_size": 2}},
        {"generation_kwargs": {"guidance_scale": 1.5}},
    ],
    ids=lambda settings: "-".join([*settings, *settings.get("generation_kwargs", [])]),
)
def test_a_scoring_pass_is_made_where_calls_are_not_tokens(tmp_path, settings):
    trainer = build(tmp_path, count_zero_advantage=True, **settings)
    batch = roll_out(trainer)
    assert trainer.num_scored == 1
    assert compute_error(trainer, batch) == 0.0


def test_a_pass_that_trl_makes_anyway_comes_first(tmp_path):
    trainer = build(tmp_path, num_iterations=2)
    batch = roll_out(trainer)
    assert trainer.num_scored == 0 and trainer.num_passes == 1
    assert compute_error(trainer, batch) == 0.0


def test_nothing_is_noted_where_no_entropy_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(SampledEntropies, "note", None)  # a call would fail
    for settings in ({"top_entropy_quantile": 1.0}, {"selection_scope": "micro_batch"}):
        trainer = build(tmp_path, **settings)
        assert "entropies" not in roll_out(trainer) and trainer.num_passes == 0


@pytest.mark.parametrize("name", ["use_vllm", "use_transformers_continuous_batching", "tools"])
def test_other_ways_to_generate_are_scored(tmp_path, name):
    trainer = build(tmp_path)
    assert trainer.samples_entropies
    setattr(trainer, name, [print] if name == "tools" else True)
    assert not trainer.samples_entropies


def test_all_processes_score_if_one_has_to(tmp_path, monkeypatch):
    trainer = build(tmp_path)
    ids, entropies = torch.tensor([[5, 0], [6, 7]]), [torch.tensor([0.5]), torch.tensor([0.1, 0.2])]
    assert trainer.join_entropies(entropies, ids).tolist() == pytest.approx(torch.tensor([[0.5, 0.0], [0.1, 0.2]]))
    assert trainer.join_entropies(None, ids) is None
    monkeypatch.setattr(trainer.accelerator, "reduce", lambda tensor, reduction: tensor + 1)
    assert trainer.join_entropies(entropies, ids) is None


# The hook --------------------------------------------------------------------------------------------------------------


class Output:
    def __init__(self, logits):
        self.logits = logits


def note(tokens, logits, **settings) -> SampledEntropies:
    """What is noted of calls with these last tokens `(T, B)`, each with logits `(B, 3, V)`."""
    sampled = SampledEntropies(**settings)
    for column in tokens:
        ids = torch.tensor([[9, token] for token in column])
        sampled.note(None, (), {"input_ids": ids}, Output(logits))
    return sampled


def test_the_last_position_counts_at_the_temperature():
    logits = torch.randn(2, 3, 7)
    first, second = note([[4, 4], [5, 6]], logits, temperature=0.5).split([[3, 4], [4]], [[5, 1], [6]])
    expected = compute_entropies(logits[:, -1] / 0.5).squeeze(1)
    torch.testing.assert_close(first, expected[:1].repeat(2))
    torch.testing.assert_close(second, expected[1:])


@pytest.mark.parametrize(
    "tokens",
    [
        [[4, 4]],  # a call too few
        [[4, 4, 4], [5, 6, 6]],  # a beam too many
        [[4, 4], [5, 5]],  # another token
        [[3, 4], [5, 6]],  # another prompt
        [],
    ],
)
def test_calls_that_did_not_draw_the_answers_are_not_taken(tokens):
    assert (
        note(tokens, torch.randn(len(tokens[0]) if tokens else 1, 3, 7)).split([[3, 4], [4]], [[5, 1], [6, 1]]) is None
    )


@pytest.mark.parametrize(("kwargs", "output"), [({}, Output(torch.zeros(1, 1, 7))), ({"input_ids": 1}, ())])
def test_a_call_without_tokens_or_logits_is_not_taken(kwargs, output):
    sampled = note([[4]], torch.randn(1, 3, 7))
    assert sampled.split([[4]], [[5]]) is not None
    sampled.note(None, (), kwargs, output)
    assert sampled.split([[4]], [[5]]) is None


def test_nothing_of_the_hook_is_left(tmp_path):
    model = build_model()
    with pytest.raises(KeyError), record_entropies(model, temperature=1.0):
        assert len(model._forward_hooks) == 1
        raise KeyError
    assert not model._forward_hooks
