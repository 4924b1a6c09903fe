"""The memory on the page of scaling is what `trl-forking doctor` computes."""

from pathlib import Path

import pytest
from transformers import Qwen2Config
from trl import ModelConfig

from trl_forking import ForkingGRPOConfig
from trl_forking.commands.estimates import count_lora, estimate_memory, measure_shape


PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
# The sizes of Qwen2.5-7B, as its config.json on the Hub has them.
QWEN = Qwen2Config(
    vocab_size=152_064,
    hidden_size=3_584,
    intermediate_size=18_944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    tie_word_embeddings=False,
)


def read_rows(first_column: str) -> list[list[str]]:
    """Read the rows of the table whose first column has a name."""
    table = PAGE.split(f"| {first_column} |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_states_are_those_of_the_weights():
    rows = read_rows("model")
    assert len(rows) == 6
    for model, weights, *shown in rows:
        billions = float(weights.removesuffix(" B"))
        computed = [18 * billions, 2 * billions, 2 * billions]  # of 16 bytes each of 8 GPUs has two
        assert [float(cell) for cell in shown[:3]] == pytest.approx(computed, rel=0.02, abs=0.5), model


@pytest.mark.parametrize(
    ("row", "length", "micro_batch", "prompt", "rank", "load_in_4bit"),
    [(0, 20_480, 1, 2_048, 0, False), (1, 8_192, 4, 1_024, 32, False), (2, 2_048, 2, 512, 32, True)],
    ids=["full", "LoRA", "4 bits"],
)
def test_memory_of_a_7b_model_is_what_doctor_computes(
    row, length, micro_batch, prompt, rank, load_in_4bit, monkeypatch
):
    """With the prompts of the recipes. In full there are eight processes that share the states."""
    monkeypatch.setattr(ForkingGRPOConfig, "world_size", 1 if rank else 8)
    sizes = {"max_completion_length": length, "per_device_train_batch_size": micro_batch}
    args = ForkingGRPOConfig("runs/x", use_cpu=True, generation_batch_size=64, **sizes)
    model_args = ModelConfig(dtype="bfloat16", use_peft=bool(rank), load_in_4bit=load_in_4bit)
    adapter = count_lora(QWEN, rank) if rank else 0
    memory = estimate_memory(measure_shape(QWEN), args, model_args, prompt, adapter, is_sharded=not rank)
    way, states, updating, _ = read_rows("way")[row]
    assert states == f"{memory.states / 1e9:.0f} GB", way
    answers = "one answer" if micro_batch == 1 else f"{micro_batch} answers"
    assert updating.startswith(f"about {memory.updating / 1e9:.0f} GB, with {answers} of {length:,} tokens"), way
