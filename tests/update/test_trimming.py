"""No padding reaches the model, at any share of kept tokens, and the gradient stays that of TRL's layout."""

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, GPT2Config, OPTConfig

from helpers.architectures import CONFIGS, SIZES
from helpers.arrangements import InputRecorder, compare_with_plain
from helpers.tiny import LOSS_TYPES, build_model, build_trainer, replay_fixed_answers
from trl_forking.update.sparse_update import find_spans, measure_rows


pytestmark = pytest.mark.slow  # fifteen seconds in all


WHOLE = {"top_entropy_quantile": 1.0}
TRIMMED_ONLY = {"balance_micro_batches": False}


def build_from(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("share", [0.2, 1.0])
@pytest.mark.parametrize("scope", ["batch", "micro_batch"])
def test_no_column_of_padding_reaches_the_model(tmp_path, share, scope):
    """In the loss pass and in the scoring pass every input begins with tokens of all rows and ends with one of some row."""
    model = build_model(attn_implementation="eager")  # which is given the mask of padding, and so shows it here
    settings = {"top_entropy_quantile": share, "selection_scope": scope, "log_entropy": False}
    trainer = build_trainer(tmp_path, model=model, **settings)
    recorder = InputRecorder(trainer)
    trainer.train()
    assert len(recorder.of_update) == 8
    assert len(recorder.of_scoring) == (8 if share < 1 and scope == "batch" else 0)
    for inputs in recorder.of_update + recorder.of_scoring:
        mask = inputs["attention_mask"]
        assert mask[:, 0].all() and mask[:, -1].any()
        assert (mask.diff(dim=1) <= 0).all()  # all tokens of a row stand together
    if share == 1.0:  # or this would be about rows of equal lengths
        assert any(not inputs["attention_mask"].all() for inputs in recorder.of_update)


def test_without_the_sparse_update_the_model_gets_trls_tensors(tmp_path):
    trainer = build_trainer(tmp_path, **WHOLE, sparse_update=False)
    recorder = InputRecorder(trainer)
    trainer.train()
    shapes = {tuple(inputs["input_ids"].shape) for inputs in recorder.of_update}
    assert len(shapes) == 1 and not any(inputs["attention_mask"][:, 0].all() for inputs in recorder.of_update)
    assert all("position_ids" not in inputs for inputs in recorder.of_update)


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_all_tokens_have_the_gradient_of_trls_layout(tmp_path, loss_type):
    compare_with_plain(tmp_path, 1e-6, **WHOLE, loss_type=loss_type)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_iterations": 2, "max_steps": 2, "learning_rate": 0.1},
        {"importance_sampling_level": "sequence", "loss_type": "grpo"},
        {"entropy_coef": 0.1},
        {"mask_truncated_completions": True},
        {"gradient_checkpointing": True},
        {"off_policy_mask_threshold": 0.1, "num_iterations": 2, "max_steps": 2, "learning_rate": 0.1},
        {"pad_to_multiple_of": 8},
    ],
    ids=str,
)
def test_all_tokens_with_other_settings(tmp_path, settings):
    compare_with_plain(tmp_path, **WHOLE, **settings)


def test_all_tokens_with_a_term_for_the_reference(tmp_path):
    """A KL term is scaled with the rows of a micro-batch, as the rest of the loss."""
    peft_config = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    settings = {"beta": 0.1, "loss_type": "grpo", "trainer_kwargs": {"peft_config": peft_config}}

    def build():
        torch.manual_seed(0)  # for the adapter too
        return build_model(scale=0.2)

    compare_with_plain(tmp_path, **WHOLE, **settings, model=build)


@pytest.mark.slow
def test_tool_output_behind_old_log_probabilities_of_any_size(tmp_path):
    def with_tool_output(prompts, trainer):
        rollout = replay_fixed_answers(prompts, trainer)
        rollout["env_mask"] = [[int(i % 3 != 1) for i in range(len(ids))] for ids in rollout["completion_ids"]]
        return rollout

    settings = {"rollout_func": with_tool_output, "num_iterations": 2, "max_steps": 2, "learning_rate": 0.1}
    for share in (0.2, 1.0):
        compare_with_plain(tmp_path, top_entropy_quantile=share, **settings)


@pytest.mark.parametrize("scope", ["micro_batch", "batch"])
def test_a_loss_of_the_router_sees_every_token(tmp_path, scope):
    """Rows stay, also those of zero-variance groups, and padding goes."""
    settings = {"model": lambda: build_from(CONFIGS["mixture_of_experts"]), "selection_scope": scope}
    trainer = compare_with_plain(tmp_path, **settings)
    assert trainer.aux_loss_enabled and not trainer._is_sparse and trainer.leaves_out_padding


# The mask of padding -------------------------------------------------------------------------------------------------


class AttentionRecorder:
    """Notes for each call of PyTorch's attention whether it has a mask, and whether it is causal."""

    def __init__(self, monkeypatch):
        self.calls: list[tuple[bool, bool]] = []
        attend = torch.nn.functional.scaled_dot_product_attention

        def note(*args, attn_mask=None, is_causal=False, **kwargs):
            self.calls.append((attn_mask is not None, is_causal))
            return attend(*args, attn_mask=attn_mask, is_causal=is_causal, **kwargs)

        monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", note)


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_attention_gets_no_mask_and_computes_no_pair_twice(tmp_path, monkeypatch, share):
    """All padding lies behind its row. PyTorch's fastest kernel takes no mask."""
    trainer = build_trainer(tmp_path, top_entropy_quantile=share)
    recorder = AttentionRecorder(monkeypatch)
    trainer.train()
    assert set(recorder.calls) <= {(False, True), (False, False)}  # a row of one token needs neither
    assert len(recorder.calls) >= 16


def test_trls_tensors_come_with_their_mask(tmp_path, monkeypatch):
    trainer = build_trainer(tmp_path, **WHOLE, sparse_update=False)
    recorder = AttentionRecorder(monkeypatch)
    trainer.train()
    assert set(recorder.calls) == {(True, False)}


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_gradient_is_the_one_with_a_mask(tmp_path, implementation):
    model = {"model": lambda: build_model(scale=0.2, attn_implementation=implementation)}
    compare_with_plain(tmp_path, 1e-6, **WHOLE, **model)


def test_padding_before_a_row_keeps_its_mask(tmp_path, monkeypatch):
    trainer = build_trainer(tmp_path, model=build_from(KEPT_ON_THE_LEFT["learned"]), **WHOLE)
    recorder = AttentionRecorder(monkeypatch)
    trainer.train()
    assert (True, False) in recorder.calls


def test_the_router_loss_is_given_the_mask(tmp_path):
    trainer = build_trainer(tmp_path, model=build_from(CONFIGS["mixture_of_experts"]))
    recorder = InputRecorder(trainer)
    trainer.train()
    assert any(not inputs["attention_mask"].all() for inputs in recorder.of_update)


# Positions -----------------------------------------------------------------------------------------------------------


def test_positions_stay_those_of_the_padded_batch(tmp_path):
    """In bfloat16 a rotary embedding of another position would be rounded otherwise."""
    model = {"model": build_model(attn_implementation="eager")}
    trainer = build_trainer(tmp_path, **model, **WHOLE, **TRIMMED_ONLY)
    plain = build_trainer(tmp_path, **WHOLE, sparse_update=False)
    recorders = [InputRecorder(trainer), InputRecorder(plain)]
    for one in (trainer, plain):
        torch.manual_seed(0)
        one.train()
    for cut, whole in zip(*(recorder.of_update for recorder in recorders), strict=True):
        first = whole["attention_mask"].argmax(1)
        assert torch.equal(cut["position_ids"][:, 0], first) and first.any()
        for row, positions in enumerate(cut["position_ids"]):
            is_token = cut["attention_mask"][row].bool()
            assert torch.equal(cut["input_ids"][row][is_token], whole["input_ids"][row][positions[is_token]])


NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
KEPT_ON_THE_LEFT = {
    "learned": GPT2Config(
        vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=32, pad_token_id=0, eos_token_id=1, **NO_DROPOUT
    ),
    "from_the_mask": OPTConfig(**SIZES, ffn_dim=32, max_position_embeddings=32, word_embed_proj_dim=16, dropout=0.0),
}


@pytest.mark.parametrize("name", KEPT_ON_THE_LEFT)
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_models_that_count_positions_keep_their_columns_on_the_left(tmp_path, name, share):
    config = KEPT_ON_THE_LEFT[name]
    trainer = compare_with_plain(tmp_path, top_entropy_quantile=share, model=lambda: build_from(config), max_steps=1)
    recorder = InputRecorder(trainer)
    torch.manual_seed(0)
    trainer._step = 0
    trainer.train()
    assert any(not inputs["attention_mask"][:, 0].all() for inputs in recorder.of_update)
    assert all("position_ids" not in inputs for inputs in recorder.of_update)
    assert len({inputs["attention_mask"].size(1) for inputs in recorder.of_update}) > 1


# Spans ---------------------------------------------------------------------------------------------------------------


def test_spans_equal_loops():
    generator = torch.Generator().manual_seed(0)
    model = build_model()
    for _ in range(50):
        prompts, lengths = (
            torch.randint(0, 5, (4,), generator=generator),
            torch.randint(0, 7, (4,), generator=generator),
        )
        mask = torch.zeros(4, 5 + 7, dtype=torch.long)
        scored = torch.zeros(4, 7, dtype=torch.bool)
        for row in range(4):
            mask[row, 5 - prompts[row] : 5 + lengths[row]] = 1
            scored[row, : lengths[row]] = torch.rand(int(lengths[row]), generator=generator) < 0.3
        first, end = find_spans(mask, scored)
        for row in range(4):
            begins = min([column for column in range(12) if mask[row, column]] + [4])
            assert first[row] == (begins if mask[row].any() else 0)
            last = max([position for position in range(7) if scored[row, position]], default=None)
            assert end[row] == (first[row] if last is None else 5 + last)
        taken, needed = measure_rows(model, mask, scored, multiple=4)
        assert torch.equal(needed, end - first) and not (taken % 4).any()
        assert torch.equal(taken > 0, scored.any(1)) and (taken - needed < 4).all()


def test_a_length_dependent_model_computes_all_columns():
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    model = build_model(rope_parameters=rope)
    scored = torch.tensor([[True, False, False], [False, False, False]])
    assert measure_rows(model, torch.ones(2, 5, dtype=torch.long), scored)[0].tolist() == [5, 0]
