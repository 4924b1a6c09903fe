"""Adapters: only their weights are trained, their gradient is right, and the saved weights are the trained weights."""

import pytest
import torch
from peft import PeftModel, get_peft_model
from trl import GRPOTrainer

from helpers.adapters import PLAIN, SAMPLED, TRL, adapt, build_base, copy_parameters, list_changed, lora
from helpers.tiny import GradientSpy, build_trainer, compute_gradients, relative_error, roll_out
from helpers.tiny_multimodal import build_chat_trainer, build_image_dataset, build_vision_model
from trl_forking import ForkingGRPOTrainer


ONE_BATCH = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1, "sparse_update": False}
pytestmark = [  # what PEFT says of itself
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
]


# Adapters ----------------------------------------------------------------------------------------------------------


def build_tied():
    return build_base(tie_word_embeddings=True)


NEW = {
    "lora": (build_base, {}),
    "rslora": (build_base, {"use_rslora": True}),
    "dora": (build_base, {"use_dora": True}),
    "all_linear": (build_base, {"target_modules": "all-linear"}),
    "all_linear_dora": (build_base, {"target_modules": "all-linear", "use_dora": True, "use_rslora": True}),
    "saved_norm": (build_base, {"modules_to_save": ["norm"]}),
    "saved_head": (build_base, {"modules_to_save": ["lm_head"]}),
    "saved_head_and_embeddings": (build_base, {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "saved_tied_embeddings": (build_tied, {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
    "embeddings": (build_base, {"target_modules": ["q_proj", "embed_tokens"]}),
    "embeddings_of_a_tied_head": (build_tied, {"target_modules": ["q_proj", "embed_tokens"]}),
    "new_tokens": (build_base, {"trainable_token_indices": [3, 4, 5, 6, 7]}),
    "invoked_by_a_token": (build_base, {"alora_invocation_tokens": [3]}),
}


def continue_in_memory(tmp_path) -> PeftModel:
    return adapt(build_base, lora(use_dora=True))


def continue_from_disk(tmp_path) -> PeftModel:
    continue_in_memory(tmp_path).save_pretrained(tmp_path / "begun")
    return PeftModel.from_pretrained(build_base(), tmp_path / "begun", is_trainable=True)


def continue_one_of_two(tmp_path) -> PeftModel:
    model = adapt(build_base, lora())
    model.add_adapter("second", lora(target_modules=["k_proj", "o_proj"]))
    model.set_adapter("second")
    return model


CONTINUED = {
    "continued_in_memory": continue_in_memory,
    "continued_from_disk": continue_from_disk,
    "continued_one_of_two": continue_one_of_two,
}
ADAPTERS = [*NEW, *CONTINUED]


def build_adapted(tmp_path, name, *args, **settings):
    if name in CONTINUED:
        return build_trainer(tmp_path, *args, model=CONTINUED[name](tmp_path), **settings)
    build, config = NEW[name]
    kwargs = {"trainer_kwargs": {"peft_config": lora(**config)}}
    return build_trainer(tmp_path, *args, model=build(), **kwargs, **settings)


def predict(model, batch) -> torch.Tensor:
    """Log-probabilities of all tokens in the answers by the model's own forward pass, without TRL's fused head."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention_mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    logits = model(input_ids=ids, attention_mask=attention_mask).logits[:, batch["prompt_ids"].size(1) - 1 : -1]
    return logits.log_softmax(dim=-1)


def collect_gradients(trainer) -> torch.Tensor:
    gradients = [p.grad.flatten().clone() for p in trainer.model.parameters() if p.grad is not None]
    trainer.model.zero_grad()
    return torch.cat(gradients)


@pytest.mark.parametrize("name", ADAPTERS)
def test_only_the_adapter_changes_and_sparse_update_changes_nothing(tmp_path, name):
    gradients = {}
    for sparse in (False, True):
        trainer = build_adapted(tmp_path, name, sparse_update=sparse)
        assert trainer._is_sparse == sparse
        before = copy_parameters(trainer)
        trained = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
        gradients[sparse] = compute_gradients(trainer)[-1]
        assert list_changed(trainer, before) == trained
        assert 0 < len(trained) < len(before)
    assert gradients[False].any() and relative_error(gradients[True], gradients[False]) < 1e-5


@pytest.mark.parametrize("name", ADAPTERS)
def test_gradient_is_that_of_the_kept_tokens_under_the_model_itself(tmp_path, name):
    """Not only the same in both ways of computing it: the fused head must see what the adapter does to the head."""
    trainer = build_adapted(tmp_path, name, GradientSpy, **ONE_BATCH)
    batch = roll_out(trainer)
    trainer._compute_loss(trainer.model, batch).backward()
    per_token = trainer.seen_logps.grad.clone()
    assert (per_token[~batch["kept"]] == 0).all() and (per_token[batch["kept"]] != 0).all()
    gradient, all_logps = collect_gradients(trainer), predict(trainer.model, batch)
    logps = all_logps.gather(2, batch["completion_ids"].unsqueeze(2)).squeeze(2)
    (logps * per_token).sum().backward()
    assert relative_error(gradient, collect_gradients(trainer)) < 1e-5
    counted, entropies = batch["counted"], -(all_logps.exp() * all_logps).sum(-1).detach()
    torch.testing.assert_close(batch["entropies"][counted], entropies[counted], atol=1e-5, rtol=0)
    torch.testing.assert_close(trainer.seen_logps.detach()[counted], logps.detach()[counted], atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ADAPTERS)
def test_rho_1_is_grpo_to_the_bit(tmp_path, name):
    settings = SAMPLED
    trainers = [build_adapted(tmp_path, name, **settings, **more) for more in (TRL, PLAIN)]
    theirs, ours = (torch.cat(compute_gradients(trainer)) for trainer in trainers)
    assert theirs.any() and torch.equal(ours, theirs)
    plain, forking = trainers
    assert not list_changed(forking, copy_parameters(plain))
    for ours, theirs in zip(forking.state.log_history[:2], plain.state.log_history[:2], strict=True):
        for key in set(theirs) - {"step_time"}:
            assert ours[key] == theirs[key], key


@pytest.mark.slow
@pytest.mark.parametrize("name", ADAPTERS)
def test_saved_adapter_gives_the_same_logits(tmp_path, name):
    trainer = build_adapted(tmp_path, name, max_steps=2, learning_rate=0.5)
    batch = roll_out(trainer)
    first = predict(trainer.model.eval(), batch).detach()
    trainer.train()
    trained = predict(trainer.model.eval(), batch).detach()
    trainer.save_model(str(tmp_path / "trained"))
    folder = tmp_path / "trained" / trainer.model.active_adapter.replace("default", "")
    base = NEW[name][0]() if name in NEW else build_base()
    loaded = PeftModel.from_pretrained(base, folder)
    torch.testing.assert_close(predict(loaded.eval(), batch).detach(), trained, rtol=0, atol=1e-6)
    assert (trained - first).abs().max() > 1e-3


@pytest.mark.slow
def test_an_adapter_goes_on_from_a_checkpoint(tmp_path):
    """Four steps in one go, and two and two with a checkpoint in between: the same adapter."""
    settings = {"learning_rate": 0.1, "optim": "adamw_torch", "save_strategy": "steps", "save_steps": 2}
    whole = build_adapted(tmp_path / "whole", "dora", max_steps=4, **settings)
    whole.train()
    begun = build_adapted(tmp_path / "parts", "dora", max_steps=2, **settings)
    begun.train()
    resumed = build_adapted(tmp_path / "parts", "dora", max_steps=4, **settings)
    before = copy_parameters(resumed)
    resumed.train(resume_from_checkpoint=True)
    assert len(list_changed(resumed, before)) == 12
    assert not list_changed(resumed, copy_parameters(whole))
    # The first two steps, with their times, are the ones that were taken before.
    assert resumed.state.log_history[:2] == begun.state.log_history[:2]
    assert [row["step"] for row in resumed.state.log_history if "loss" in row] == [1, 2, 3, 4]


@pytest.mark.slow
def test_kl_term_to_the_adapter_that_is_continued(tmp_path):
    """With all tokens kept a KL term is allowed; the reference is TRL's copy of the adapter as it was."""
    settings = {"beta": 0.1, "max_steps": 2, "learning_rate": 0.5, "rollout_func": None}
    plain, forking = (build_adapted(tmp_path, "continued_from_disk", **settings, **more) for more in (TRL, PLAIN))
    theirs, ours = compute_gradients(plain), compute_gradients(forking)
    assert all(map(torch.equal, ours, theirs))
    assert "ref" in forking.model.peft_config
    kl = [row["kl"] for row in forking.state.log_history[:2]]
    assert kl == [row["kl"] for row in plain.state.log_history[:2]] and kl[1] > kl[0]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"gradient_checkpointing": True}, {"cast_lm_head_to_fp32": True}], ids=str)
@pytest.mark.parametrize("name", ["all_linear_dora", "saved_head_and_embeddings", "continued_from_disk"])
def test_other_settings(tmp_path, name, settings):
    trainers = [build_adapted(tmp_path, name, sparse_update=sparse, **settings) for sparse in (False, True)]
    dense, sparse = (compute_gradients(trainer)[-1] for trainer in trainers)
    assert dense.any() and relative_error(sparse, dense) < 1e-5
    plain = compute_gradients(build_adapted(tmp_path, name, sparse_update=False))[-1]
    assert relative_error(dense, plain) < 1e-5


def test_adapter_dropout_does_not_choose_the_tokens(tmp_path):
    kwargs = {"trainer_kwargs": {"peft_config": lora(lora_dropout=0.5)}}
    trainer = build_trainer(tmp_path, GradientSpy, model=build_base(), **kwargs, **ONE_BATCH)
    first, second = roll_out(trainer), roll_out(trainer)
    assert torch.equal(first["entropies"], second["entropies"]) and torch.equal(first["kept"], second["kept"])
    trainer._compute_loss(trainer.model, first).backward()
    once = collect_gradients(trainer)
    trainer._compute_loss(trainer.model, first).backward()
    assert not torch.equal(once, collect_gradients(trainer)), "in the update dropout is on"


def test_lora_on_a_model_that_sees(tmp_path):
    def build(trainer_class, **settings):
        model, processor = build_vision_model("qwen2_5_vl")
        kwargs = {"trainer_kwargs": {"peft_config": lora(target_modules=["q_proj", "v_proj", "qkv"])}}
        dataset = build_image_dataset()
        # An answer with an image token in it, which TRL 1.15 draws here, is refused by Transformers.
        kwargs["generation_kwargs"] = {"suppress_tokens": [processor.image_token_id]}
        settings = {"max_completion_length": 12} | kwargs | settings
        return build_chat_trainer(tmp_path, trainer_class, model, processor, dataset, **settings)

    theirs, whole = build(GRPOTrainer), build(ForkingGRPOTrainer, **PLAIN)
    assert torch.equal(compute_gradients(whole)[-1], compute_gradients(theirs)[-1])
    before = copy_parameters(sparse := build(ForkingGRPOTrainer))
    gradients = [
        compute_gradients(trainer)[-1] for trainer in (build(ForkingGRPOTrainer, sparse_update=False), sparse)
    ]
    assert relative_error(*gradients) < 1e-5
    changed = list_changed(sparse, before)
    assert all("lora" in name for name in changed) and any("visual" in name for name in changed)


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (build_base, {"target_modules": ["q_proj", "lm_head"]}),
        (build_base, {"target_parameters": ["lm_head.weight"]}),
        (build_tied, {"target_modules": ["q_proj", "embed_tokens"], "ensure_weight_tying": True}),
    ],
)
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_an_adapter_on_the_head_is_refused_by_name(tmp_path, build, settings, is_wrapped):
    """TRL's fused head multiplies by the weight below the adapter, which would never be trained."""
    config = lora(**settings)
    model, kwargs = (get_peft_model(build(), config), {}) if is_wrapped else (build(), {"peft_config": config})
    with pytest.raises(ValueError, match=r"adapter.*lm_head"):
        build_trainer(tmp_path, model=model, trainer_kwargs=kwargs)


def test_new_tokens_of_a_tied_head_are_refused_by_name(tmp_path):
    config = lora(trainable_token_indices=[3, 4, 5])
    with pytest.raises(ValueError, match="trainable_token_indices"):
        build_trainer(tmp_path, model=build_tied(), trainer_kwargs={"peft_config": config}).train()


def test_an_adapter_of_transformers_itself_on_the_head_is_refused_by_name(tmp_path):
    model = build_base()
    model.add_adapter(lora(target_modules=["q_proj", "lm_head"]))
    with pytest.raises(ValueError, match=r"adapter.*lm_head"):
        build_trainer(tmp_path, model=model).train()


def test_an_adapter_loaded_for_inference_is_refused_by_name(tmp_path):
    adapt(build_base, lora()).save_pretrained(tmp_path / "begun")
    model = PeftModel.from_pretrained(build_base(), tmp_path / "begun")
    with pytest.raises(ValueError, match="is_trainable=True"):
        build_trainer(tmp_path, model=model).train()


def test_an_adapter_of_transformers_itself_is_trained(tmp_path):
    gradients = []
    for sparse in (False, True):
        model = build_base()
        torch.manual_seed(1)
        model.add_adapter(lora())
        gradients.append(compute_gradients(build_trainer(tmp_path, model=model, sparse_update=sparse))[-1])
    assert gradients[0].any() and relative_error(*gradients) < 1e-5
