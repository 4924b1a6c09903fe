"""Other models and inputs than the default: adapters, tools, truncation, logit transforms, experts, entropies."""

import math

import pandas
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM

from helpers.architectures import CONFIGS
from helpers.tiny import (
    NUM_GENERATIONS,
    GradientSpy,
    build_model,
    build_trainer,
    replay_fixed_answers,
    roll_out,
)


ONE_BATCH = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1, "sparse_update": False}


def assert_only_kept_tokens_are_trained(trainer, batch):
    trainer._compute_loss(trainer.model, batch).backward()
    gradient = trainer.seen_logps.grad
    assert (gradient[~batch["kept"]] == 0).all() and (gradient[batch["kept"]] != 0).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_architectures(tmp_path, name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name])
    trainer = build_trainer(tmp_path, GradientSpy, model=model, **ONE_BATCH)
    batch = roll_out(trainer)
    counted = batch["completion_mask"].bool() & (batch["advantages"] != 0).unsqueeze(1)
    assert batch["kept"].sum() == math.ceil(0.2 * counted.sum())
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention_mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    logits = model(input_ids=ids, attention_mask=attention_mask).logits.double()[
        :, batch["prompt_ids"].size(1) - 1 : -1
    ]
    entropies = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(
        trainer.seen_entropies.double()[counted], entropies[counted], atol=1e-5, rtol=0, check_dtype=False
    )
    assert_only_kept_tokens_are_trained(trainer, batch)
    trainer.train()


def test_lora_trains_the_adapter_and_peft_loads_it(tmp_path):
    peft_config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = build_trainer(
        tmp_path / "run", GradientSpy, max_steps=2, learning_rate=0.1, trainer_kwargs={"peft_config": peft_config}
    )
    base = {name: p.clone() for name, p in trainer.model.named_parameters() if "lora" not in name}
    trainer.train()
    assert all(torch.equal(p, base[name]) for name, p in trainer.model.named_parameters() if name in base)
    trainer.save_model(str(tmp_path / "adapter"))
    loaded = PeftModel.from_pretrained(build_model(), tmp_path / "adapter")
    adapters = [p for name, p in loaded.named_parameters() if "lora_B" in name]
    assert adapters and all(p.any() for p in adapters)
    assert_only_kept_tokens_are_trained(trainer, roll_out(trainer))


def test_dropout_does_not_choose_the_tokens(tmp_path):
    trainer = build_trainer(tmp_path, GradientSpy, model=build_model(attention_dropout=0.5), **ONE_BATCH)
    first, second = roll_out(trainer), roll_out(trainer)
    assert torch.equal(first["entropies"], second["entropies"]) and torch.equal(first["kept"], second["kept"])
    assert trainer.model.training


def test_tool_output_is_never_kept(tmp_path):
    def with_tool_output(prompts, trainer):
        rollout = replay_fixed_answers(prompts, trainer)
        rollout["env_mask"] = [
            [position % 3 != 1 for position in range(len(ids))] for ids in rollout["completion_ids"]
        ]
        rollout["env_mask"] = [[int(flag) for flag in mask] for mask in rollout["env_mask"]]
        return rollout

    trainer = build_trainer(tmp_path, GradientSpy, rollout_func=with_tool_output, **ONE_BATCH)
    batch = roll_out(trainer)
    assert not (batch["kept"] & (batch["tool_mask"] == 0)).any()
    counted = (batch["completion_mask"] * batch["tool_mask"]).bool() & (batch["advantages"] != 0).unsqueeze(1)
    assert batch["kept"].sum() == math.ceil(0.2 * counted.sum())
    assert_only_kept_tokens_are_trained(trainer, batch)


def test_masked_truncated_answers_are_left_out_before_the_threshold(tmp_path):
    def cut_every_third(prompts, trainer):
        rollout = replay_fixed_answers(prompts, trainer)
        answers = rollout["completion_ids"]
        rollout["completion_ids"] = [ids[:-1] if index % 3 == 0 else ids for index, ids in enumerate(answers)]
        return rollout

    trainer = build_trainer(
        tmp_path, GradientSpy, rollout_func=cut_every_third, mask_truncated_completions=True, **ONE_BATCH
    )
    batch = roll_out(trainer)
    cut = torch.arange(64) % 3 == 0
    assert not batch["kept"][cut].any() and batch["kept"][~cut].any()
    assert_only_kept_tokens_are_trained(trainer, batch)


def test_a_batch_in_which_no_token_counts_trains_nothing_and_says_so(tmp_path, caplog):
    trainer = build_trainer(tmp_path, reward_funcs=lambda completions, **kwargs: [1.0] * len(completions), max_steps=2)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.train()
    assert trainer.state.global_step == 2
    assert all(torch.equal(old, new) for old, new in zip(before, trainer.model.parameters(), strict=True))
    assert "Step 0: no token counts" in caplog.text and "Step 1: no token counts" in caplog.text


@pytest.mark.parametrize("settings", [{}, {"selection_scope": "sequence"}, {"top_entropy_quantile": 1.0}])
def test_log_entropy_writes_tokens_entropies_and_flags(tmp_path, settings):
    trainer = build_trainer(tmp_path, log_completions=True, log_entropy=True, **settings)
    trainer.train()
    table = pandas.read_parquet(tmp_path / "completions" / "completions_00001.parquet")
    assert len(table) == 64
    for _, row in table.iterrows():
        assert "".join(row["tokens"]).removesuffix(" <eos>") == row["completion"]
        assert len(row["tokens"]) == len(row["entropies"]) == len(row["kept"])
        assert min(row["entropies"]) >= 0
        if not settings and row["advantage"] == 0:
            assert not any(row["kept"])
    if "top_entropy_quantile" in settings:
        assert all(all(kept) for kept in table["kept"])
    elif "selection_scope" not in settings:
        kept = [
            e for row in zip(table["entropies"], table["kept"], strict=True) for e, k in zip(*row, strict=True) if k
        ]
        assert min(kept) >= trainer.state.log_history[0]["forking/threshold"] - 2**-16


def test_streamed_dataset(tmp_path):
    trainer = build_trainer(tmp_path)
    streamed = trainer.train_dataset.to_iterable_dataset()
    kwargs = {"args": trainer.args, "processing_class": trainer.processing_class}
    again = GradientSpy(build_model(), trainer.reward_funcs, train_dataset=streamed, rollout_func=None, **kwargs)
    again.train()
    assert again.state.global_step == 1


def test_conversational_prompts(tmp_path):
    trainer = build_trainer(tmp_path)
    tokenizer = trainer.processing_class
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    messages = [[{"role": "user", "content": prompt}] for prompt in trainer.train_dataset["prompt"]]
    dataset = Dataset.from_dict({"prompt": messages, "number": list(range(len(messages)))})
    conversational = GradientSpy(build_model(), trainer.reward_funcs, trainer.args, dataset, None, tokenizer)
    conversational.train()
    assert conversational.state.log_history[0]["forking/kept_fraction"] == pytest.approx(0.2, abs=0.05)


def test_bfloat16_keeps_the_budget(tmp_path):
    trainer = build_trainer(tmp_path, GradientSpy, model=build_model().bfloat16(), bf16=True, **ONE_BATCH)
    batch = roll_out(trainer)
    counted = batch["completion_mask"].bool() & (batch["advantages"] != 0).unsqueeze(1)
    assert batch["kept"].sum() == math.ceil(0.2 * counted.sum())
    assert_only_kept_tokens_are_trained(trainer, batch)


def test_groups_stay_whole_under_selection(tmp_path):
    """Row ids number the rollout batch as TRL lays it out: groups of answers to one prompt, one after the other."""
    trainer = build_trainer(tmp_path, GradientSpy, **ONE_BATCH)
    batch = roll_out(trainer)
    assert batch["row_ids"].tolist() == list(range(64))
    prompts = batch["prompt_ids"].view(-1, NUM_GENERATIONS, batch["prompt_ids"].size(1))
    assert (prompts == prompts[:, :1]).all()
