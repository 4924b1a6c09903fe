"""Adapters on quantized weights are trained as those on others are."""

import pytest
import torch
from peft import prepare_model_for_kbit_training
from trl import ModelConfig, get_peft_config, get_quantization_config

from helpers.adapters import PLAIN, SAMPLED, TRL, build_base, copy_parameters, list_changed, lora
from helpers.tiny import build_trainer, compute_gradients, relative_error
from trl_forking import ForkingGRPOConfig
from trl_forking.commands.math_loading import load_model


pytestmark = [  # what PEFT says of itself
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
]


def build_for_kbit_training(tmp_path, **settings):
    """Frozen weights, norms in float32 and the mark by which TRL turns adapters into bfloat16, without packed weights."""
    model = build_base()
    model.is_loaded_in_4bit = True
    model = prepare_model_for_kbit_training(model)
    kwargs = {"trainer_kwargs": {"peft_config": lora(use_dora=True)}, "gradient_checkpointing": True}
    return build_trainer(tmp_path, model=model, **(kwargs | settings))


def test_a_model_prepared_for_kbit_training(tmp_path):
    # In TRL's micro-batches: in bfloat16 the order in which their gradients are summed moves the sum.
    settings = {"balance_micro_batches": False}
    trainers = [build_for_kbit_training(tmp_path, sparse_update=sparse, **settings) for sparse in (False, True)]
    before = copy_parameters(trainers[1])
    dense, sparse = (compute_gradients(trainer)[-1] for trainer in trainers)
    assert dense.any() and relative_error(sparse, dense) < 5e-3  # gradients of adapters in bfloat16
    trained = {name: value for name, value in trainers[1].model.named_parameters() if value.requires_grad}
    assert list_changed(trainers[1], before) == set(trained)
    assert {"lora_A" in name or "lora_B" in name: value.dtype for name, value in trained.items()} == {
        True: torch.bfloat16,
        False: torch.float32,  # DoRA's magnitudes
    }


@pytest.mark.slow
def test_rho_1_is_grpo_to_the_bit_on_a_model_prepared_for_kbit_training(tmp_path):
    plain = compute_gradients(build_for_kbit_training(tmp_path, **SAMPLED, **TRL))
    forking = compute_gradients(build_for_kbit_training(tmp_path, **SAMPLED, **PLAIN))
    assert all(map(torch.equal, forking, plain)) and plain[1].any()


def build_arguments(**settings) -> ModelConfig:
    defaults = {"use_peft": True, "lora_r": 4, "lora_target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.0}
    return ModelConfig(**(defaults | {"dtype": "float32"} | settings))


def test_arguments_of_the_example_become_configurations(tmp_path):
    model_args = build_arguments(load_in_4bit=True, use_bnb_nested_quant=True, use_dora=True, use_rslora=True)
    peft_config, quantization = get_peft_config(model_args), get_quantization_config(model_args)
    assert (peft_config.r, peft_config.use_dora, peft_config.use_rslora) == (4, True, True)
    assert quantization.load_in_4bit and quantization.bnb_4bit_use_double_quant
    assert quantization.bnb_4bit_quant_type == "nf4" and quantization.bnb_4bit_compute_dtype == torch.float32
    model_args.model_name_or_path = "some/model"
    training_args = ForkingGRPOConfig(str(tmp_path), use_cpu=True, report_to="none")
    loaded = load_model(None, training_args, model_args)
    assert loaded["model"] == "some/model" and loaded["quantization_config"].to_dict() == quantization.to_dict()
    assert training_args.model_init_kwargs["dtype"] == "float32"


def test_quantization_without_bitsandbytes_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.quantizers.quantizer_bnb_4bit.is_bitsandbytes_available", lambda: False)
    build_base().save_pretrained(tmp_path / "model")
    with pytest.raises(ImportError, match="bitsandbytes"):
        build_quantized(tmp_path, load_in_4bit=True)


def build_quantized(tmp_path, trainer_args=None, **arguments):
    model_args = build_arguments(**arguments)
    quantization = get_quantization_config(model_args)
    # Above 0, what one token is rounded to in 8 bits depends on the largest activations of all others in the batch.
    quantization.llm_int8_threshold = 0.0
    return build_trainer(
        tmp_path,
        model=str(tmp_path / "model"),
        model_init_kwargs={"dtype": model_args.dtype},
        trainer_kwargs={"peft_config": get_peft_config(model_args), "quantization_config": quantization},
        **(trainer_args or {}),
    )


@pytest.fixture
def quantized_folder(tmp_path, monkeypatch):
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    # On some CPUs it packs the weights for good in the first forward pass in evaluation mode, and no gradient comes
    # through from then on; test_gradient_after_evaluation_on_a_cpu looks at that.
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: False)
    build_base(hidden_size=64, intermediate_size=128, head_dim=32).save_pretrained(tmp_path / "model")
    return tmp_path


QUANTISED = [
    {"load_in_4bit": True},
    {"load_in_4bit": True, "use_bnb_nested_quant": True, "use_dora": True},
    {"load_in_8bit": True},
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", QUANTISED, ids=str)
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_qlora(quantized_folder, arguments, gradient_checkpointing):
    gradients = []
    for sparse in (False, True):
        trainer_args = {"sparse_update": sparse, "balance_micro_batches": False}
        trainer_args["gradient_checkpointing"] = gradient_checkpointing
        trainer = build_quantized(quantized_folder, trainer_args, **arguments)
        before = copy_parameters(trainer)
        gradients.append(compute_gradients(trainer)[-1])
        assert all("lora" in name for name in list_changed(trainer, before))
    assert gradients[0].any() and relative_error(*gradients) < 5e-3
    plain = compute_gradients(build_quantized(quantized_folder, SAMPLED | TRL, **arguments))
    forking = compute_gradients(build_quantized(quantized_folder, SAMPLED | PLAIN, **arguments))
    assert all(map(torch.equal, forking, plain)) and plain[1].any()


def test_gradient_after_evaluation_on_a_cpu(tmp_path):
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    if not bitsandbytes.nn.modules.has_avx512bf16():
        pytest.skip("this CPU keeps the weights as they are")
    build_base(hidden_size=64, intermediate_size=128, head_dim=32).save_pretrained(tmp_path / "model")
    trainer = build_quantized(tmp_path, load_in_4bit=True)
    before = copy_parameters(trainer)
    trainer.train()
    assert any("lora" in name for name in list_changed(trainer, before))
