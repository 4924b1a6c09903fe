"""What this library relies on in models, their fused head, `generate`, adapters and the tools around a run.

Each test fails with a sentence that names what has changed in TRL, Transformers, Accelerate or PEFT.
"""

import json
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.integrations import TensorBoardCallback
from trl import GRPOConfig, GRPOTrainer, TrlParser
from trl.rewards import get_soft_overlong_punishment
from trl.trainer.utils import add_fused_lm_head

from helpers.tiny import build_dataset, build_model, build_tokenizer, build_trainer, roll_out
from trl_forking.run.model_parts import find_backbone


IDS = torch.tensor([[0, 5, 6, 7, 8], [9, 10, 11, 12, 13]])
MASK = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])


def score(logits, labels):
    logps = logits.log_softmax(-1)
    return logps.gather(-1, labels.unsqueeze(-1)).squeeze(-1), -(logps.exp() * logps).sum(-1)


# The fused head -------------------------------------------------------------------------------------------------------


def test_scoring_calls_the_model_by_keyword_and_in_the_order_of_the_rows(tmp_path):
    """`score_only` has to know which rows of the chosen tokens a call is about."""
    sizes = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1}
    trainer = build_trainer(tmp_path, GRPOTrainer, GRPOConfig, train_dataset=build_dataset(4), **sizes)
    batch, calls = roll_out(trainer), []
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    trainer.model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 4, batch_size=12, compute_entropy=True)
    names = {"input_ids", "attention_mask", "labels", "fused_lm_head"}
    assert all(not args and set(kwargs) == names for args, kwargs in calls), (
        f"TRL scores a text model with {[sorted(kwargs) for _, kwargs in calls]}, and no longer with the keywords "
        f"{sorted(names)}: with any other, the sparse update cuts nothing off."
    )
    assert torch.equal(torch.cat([kwargs["input_ids"] for _, kwargs in calls]), ids) and len(calls) == 2, (
        "TRL no longer scores all rows in their order, batch_size at a time."
    )


@pytest.fixture(scope="module")
def model():
    model = build_model()
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return model


def test_fused_head_scores_shift_labels_as_they_are(model):
    plain = model(input_ids=IDS, attention_mask=MASK).logits
    output = model(input_ids=IDS, attention_mask=MASK, shift_labels=IDS, fused_lm_head=True)
    expected = score(plain, IDS)
    assert output["log_probs"].shape == IDS.shape and torch.allclose(
        output["log_probs"][1], expected[0][1], atol=1e-5
    ), "TRL's fused head no longer scores every hidden state by its own label in shift_labels."
    assert torch.allclose(output["entropy"][1], expected[1][1], atol=1e-5), (
        "TRL's fused head no longer returns entropies in nats, over the whole vocabulary, as 'entropy'."
    )
    output["log_probs"] = torch.zeros(1)
    assert output.log_probs.shape == (1,), (
        "The output of TRL's fused head no longer takes another value for 'log_probs': the sparse update puts zeros in."
    )


def test_fused_head_projects_what_a_hook_on_the_backbone_returns(model):
    """The sparse update gathers the chosen positions in such a hook."""
    rows, columns = torch.tensor([0, 1, 1]), torch.tensor([3, 0, 2])
    whole = model(input_ids=IDS, attention_mask=MASK, shift_labels=IDS, fused_lm_head=True)

    def gather(module, args, output):
        output.last_hidden_state = output.last_hidden_state[rows, columns].unsqueeze(0)
        return output

    hook = find_backbone(model).register_forward_hook(gather)
    chosen = None
    with suppress(RuntimeError):  # of shapes that do not fit
        labels = IDS[rows, columns].unsqueeze(0)
        chosen = model(input_ids=IDS, attention_mask=MASK, shift_labels=labels, fused_lm_head=True).log_probs
    hook.remove()
    assert chosen is not None and torch.allclose(chosen, whole.log_probs[rows, columns].unsqueeze(0), atol=1e-5), (
        "TRL's fused head no longer projects the last_hidden_state that a hook on model.base_model returns, however many "
        "positions it has."
    )


# Models and generate ----------------------------------------------------------------------------------------------------


def test_a_model_projects_what_a_hook_on_its_backbone_returns():
    """`compute_token_scores` puts hidden states of many positions in place of those of a single token."""
    model = build_model()
    hidden = torch.randn(1, 7, model.config.hidden_size)

    def replace(module, args, output):
        output.last_hidden_state = hidden
        return output

    find_backbone(model).register_forward_hook(replace)
    token = IDS[:1, :1]
    logits = model(input_ids=token, attention_mask=torch.ones_like(token), use_cache=False).logits
    assert torch.equal(logits, model.get_output_embeddings()(hidden)), (
        "Transformers' causal models no longer project the last_hidden_state of model.base_model as a hook leaves it."
    )


def test_generate_takes_the_generation_config_of_the_model():
    """The sampler of the analysis puts its own there, so that nothing a model brings along changes the probabilities."""
    model = build_model()
    settings = {"pad_token_id": 0, "eos_token_id": None, "max_new_tokens": 3}
    model.generation_config = GenerationConfig(bad_words_ids=[[word] for word in range(4, 32)], **settings)
    restricted = model.generate(input_ids=IDS, attention_mask=MASK)[:, 5:]
    model.generation_config = GenerationConfig(do_sample=True, num_return_sequences=2, top_k=0, top_p=1.0, **settings)
    sampled = model.generate(input_ids=IDS, attention_mask=MASK)
    assert restricted.max() < 4 <= sampled[:, 5:].max(), (
        "Transformers' generate no longer takes all of its settings from what model.generation_config is now."
    )
    assert sampled.shape == (4, 8) and torch.equal(sampled[:, :5], IDS.repeat_interleave(2, dim=0)), (
        "Transformers' generate no longer returns prompt and answer, the answers to a prompt one after the other."
    )


class Probe(LogitsProcessor):
    def __call__(self, input_ids, scores):
        self.scores = scores.clone()
        return scores


def test_own_logits_processors_run_in_fp32_before_the_temperature():
    """`ForkTemperature` takes the entropy of the model's own distribution."""
    model, probe = build_model().bfloat16(), Probe()
    settings = {"do_sample": True, "temperature": 0.25, "top_k": 2, "top_p": 0.5, "min_p": 0.1, "max_new_tokens": 1}
    with torch.no_grad():
        logits = model(input_ids=IDS, attention_mask=MASK).logits[:, -1]
        model.generate(input_ids=IDS, attention_mask=MASK, logits_processor=LogitsProcessorList([probe]), **settings)
    assert probe.scores.dtype == torch.float32, (
        f"Transformers hands logits processors {probe.scores.dtype}, and no longer float32."
    )
    assert torch.allclose(probe.scores, logits.float(), atol=0.1, rtol=0.05), (
        "Transformers no longer runs the logits processors of the caller before temperature, top-k, top-p and min-p."
    )


# Adapters ---------------------------------------------------------------------------------------------------------------


def test_an_adapter_says_what_it_is(tmp_path):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    base = build_model()
    adapted = peft.get_peft_model(base, config)
    assert adapted.get_base_model() is base and not adapted.active_peft_config.is_prompt_learning, (
        "PEFT's get_base_model or active_peft_config.is_prompt_learning has changed: hooks are put on the base model."
    )
    assert list(adapted.peft_config) == ["default"] and adapted.peft_config["default"].r == 2, (
        "PEFT no longer keeps the configurations of a model's adapters by name in peft_config."
    )
    adapted.save_pretrained(tmp_path)
    text = ModelCard.load(tmp_path / "README.md", ignore_metadata_errors=True).text.strip()
    assert text.startswith(ModelCard.from_template(ModelCardData()).text.strip()), (
        "PEFT's own card no longer begins as the empty form of huggingface_hub: it would be taken for the user's text."
    )


def test_the_head_of_an_adapter_is_told_by_its_attributes():
    """`check_fused_head` refuses adapters that TRL's head, which reads the plain weight, would leave out."""
    peft = pytest.importorskip("peft")
    settings = {"r": 2, "task_type": "CAUSAL_LM"}
    for expected, config in {
        "base_layer": peft.LoraConfig(target_modules=["lm_head"], **settings),
        "token_adapter": peft.LoraConfig(
            target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [3], "lm_head": [3]}, **settings
        ),
    }.items():
        head = peft.get_peft_model(build_model(), config).get_base_model().get_output_embeddings()
        assert hasattr(head, expected), f"PEFT no longer gives an adapted lm_head the attribute {expected}."


# Tools ------------------------------------------------------------------------------------------------------------------


@dataclass
class Flags:
    flag: bool = field(default=True, metadata={"help": "A switch."})
    names: list[str] | None = field(default=None, metadata={"help": "Several."})
    size: float = field(default=1.0, metadata={"help": "A number."})


def test_parser_reads_the_file_then_the_flags_then_builds(tmp_path, monkeypatch):
    """`ForkingParser` checks keys in the first of these, flags in the second and says where a value stood in the third."""
    calls = []

    class Listener(TrlParser):
        def set_defaults_with_config(self, **config):
            calls.append(("set_defaults_with_config", sorted(config)))
            return super().set_defaults_with_config(**config)

        def parse_args_into_dataclasses(self, *args, **kwargs):
            calls.append("parse_args_into_dataclasses")
            return super().parse_args_into_dataclasses(*args, **kwargs)

        def parse_known_args(self, *args, **kwargs):
            calls.append("parse_known_args")
            return super().parse_known_args(*args, **kwargs)

    monkeypatch.delenv("OF_THE_FILE", raising=False)
    monkeypatch.setenv("OF_THE_FILE", "")  # so that it is taken back
    (tmp_path / "run.yaml").write_text("env: {OF_THE_FILE: 1}\nsize: 2\n")
    Listener(Flags).parse_args_and_config(["--config", str(tmp_path / "run.yaml")], fail_with_unknown_args=False)
    expected = [("set_defaults_with_config", ["size"]), "parse_args_into_dataclasses", "parse_known_args"]
    assert calls == expected, (
        f"TRL's TrlParser calls {calls}, and no longer {expected}, the first without the env of the file."
    )


def test_parser_makes_the_flags_we_convert_values_by():
    actions = [(action.dest, action.option_strings[0], action.nargs) for action in TrlParser(Flags)._actions]
    assert actions[1:] == [
        ("flag", "--flag", "?"),
        ("flag", "--no_flag", 0),
        ("names", "--names", "+"),
        ("size", "--size", None),
    ], f"TRL's HfArgumentParser makes {actions[1:]} of a switch, a list and a number: YAML values go by these."


def test_accelerate_launch_takes_our_flags():
    launch = pytest.importorskip("accelerate.commands.launch")
    names = ("config_file", "num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port")
    known = {action.dest for action in launch.launch_command_parser()._actions}
    assert set(names) <= known, f"accelerate launch no longer takes {sorted(set(names) - known)}."


def test_trackers_are_named_in_the_arguments(tmp_path):
    reports = {
        name: GRPOConfig(str(tmp_path), report_to=name, use_cpu=True, bf16=False).report_to
        for name in ("none", "tensorboard")
    }
    assert reports == {"none": [], "tensorboard": ["tensorboard"]}, (
        f"Transformers makes {reports} of report_to, and no longer a list of names."
    )


def test_tensorboard_is_written_to_through_its_callback():
    pytest.importorskip("tensorboard")
    callback = TensorBoardCallback()
    assert getattr(callback, "tb_writer", 0) is None, (
        "Transformers' TensorBoardCallback no longer keeps its writer in tb_writer: text and histograms of a report go there."
    )


def test_overlong_penalty_tells_its_cache():
    found = getattr(get_soft_overlong_punishment(12, 4), "soft_punish_cache", None)
    assert found == 4, "TRL's soft overlong penalty lost soft_punish_cache, by which a card says that it was in use."


def test_arguments_are_written_as_plain_data(tmp_path):
    """What differs from the defaults is told on the card, and goes into JSON."""
    args = GRPOConfig(str(tmp_path), use_cpu=True, bf16=False)
    assert type(args.accelerator_config).__name__ == "AcceleratorConfig" and json.dumps(
        args.accelerator_config.to_dict()
    ), "Transformers' TrainingArguments.accelerator_config is no longer an AcceleratorConfig with to_dict."


def test_tokenizer_decodes_every_token(tmp_path):
    tokenizer = build_tokenizer()
    text = tokenizer.decode([5, 1, 6], skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert text == "w5 <eos> w6" and tokenizer.convert_ids_to_tokens(5) == "w5", (
        "Transformers' tokenizers no longer write special tokens, or name a single token, as TokenTexts asks them to."
    )
