"""No secret is in any file that a push takes, and no setting with a name that only looks like one is lost."""

import copy
import pickle
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from transformers import BitsAndBytesConfig

import trl_forking.hub.push as push
from helpers.tiny import build_trainer
from trl_forking import ForkingGRPOConfig
from trl_forking.card.model_card import rebuild_card
from trl_forking.card.run_files import read_config, read_record, write_config, write_record
from trl_forking.commands.settings import format_settings
from trl_forking.settings.secrets import is_secret_name, remove_secrets, remove_secrets_from_text


# Forty secrets. Each has a number in it, so that a leak names the place it was planted in.
NAMED = (
    "api_key", "api_keys", "API-Key", "apiKey", "x-api-key", "openai_api_key", "WANDB_API_KEY", "token", "tokens",
    "hf_token", "hf_tokens", "HF_TOKEN", "accessToken", "refresh_token", "auth_token", "aws_access_key_id",
    "aws_secret_access_key", "AWSSessionToken", "passwd", "password", "db_password_1", "pwd", "passphrase", "credentials",
    "credential", "client_secret", "secrets", "private_key", "ssh_key", "Authorization", "cookie", "connection_string",
)  # fmt: skip
FORMS = [
    "hf_S33xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "sk-proj-S34xxxxxxxxxxxxxxxxxxxx",
    "ghp_S35xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "AKIAS36XXXXXXXXXXXXX",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJTMzcifQ.S37xxxxxxxxxxxxxxxxxxxx",
    "glpat-S38xxxxxxxxxxxxxxxxx",
    "xoxb-S39xxxxxxxxxxxx",
    "-----BEGIN PRIVATE KEY-----\nS40xxxxxx\nxxxx\n-----END PRIVATE KEY-----",
]
SECRETS = [f"S{number:02d}planted" for number in range(1, 33)] + [f"S{number}" for number in range(33, 41)]
BY_NAME = dict(zip(NAMED, SECRETS, strict=False))


def wrap(number: int, secret: str) -> object:
    """A secret alone, in a list, or in a mapping."""
    return [secret, [secret, "other"], {"value": secret}][number % 3]


@dataclass
class Judge:
    api_key: str
    name: str = "judge"


def plant() -> dict:
    """Settings with every secret in them; the free text and the addresses have harmless names."""
    half = len(NAMED) // 2
    named = [{name: wrap(number, BY_NAME[name])} for number, name in enumerate(NAMED)]
    return {
        "model_init_kwargs": {"token": "S08planted", "headers": named[:half], "note": FORMS[0]},
        "generation_kwargs": {"deep": {"er": [{"est": named[half:]}]}, "notes": FORMS[1:4]},
        "chat_template_kwargs": {"text": " ".join(FORMS[4:]), "judge": Judge("S01planted")},
        "hub_token": "S10planted",
        "run_name": "run of S10planted",
        "vllm_server_base_url": "http://me:S20planted@node:8000/v1?api_key=S01planted&n=1#access_token=S13planted",
        "optim_args": "rate=1,password=S20planted,other=2",
    }


def find_planted(content: bytes) -> set[str]:
    texts = [content]
    for match in re.finditer(b"\x1f\x8b\x08|\x78\x9c", content):  # what is compressed inside
        try:
            texts.append(zlib.decompressobj(47).decompress(content[match.start() :]))
        except zlib.error:
            continue
    return {secret for secret in SECRETS for text in texts if secret.encode() in text}


def list_pushed(folder: Path) -> list[Path]:
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    main = filter_repo_objects(paths, ignore_patterns=list(push._NOT_PUSHED))
    return [folder / path for path in {*main, *(path for path in paths if path.startswith("checkpoint-"))}]


def test_forty_secrets_are_in_no_file_of_a_pushed_folder(tmp_path):
    folder = tmp_path / "run"
    one_step = {"per_device_train_batch_size": 64, "gradient_accumulation_steps": 1, "save_strategy": "steps"}
    trainer = build_trainer(str(folder), report_to="tensorboard", **one_step)
    planted = plant()
    for name, value in planted.items():  # TRL would load the model with them, or look for the server
        setattr(trainer.args, name, value)
    write_config(folder, f"max_steps: 3\n{format_settings(trainer.args)}")
    trainer.train()
    trainer.save_model()
    trainer.create_model_card(
        dataset_name=["https://me:S20planted@host/a.jsonl?token=S08planted"],
        example_prompt=f"Is {FORMS[0]} right?",
        tags=["tag", FORMS[2]],
    )
    pushed = list_pushed(folder)
    names = {path.name for path in pushed}
    assert {"training_args.bin", "README.md", "forking_run.json", "forking_config.yaml"} <= names
    assert any("events.out" in name for name in names) and any("checkpoint-1" in str(path) for path in pushed)
    leaks = {path.relative_to(folder).as_posix(): find_planted(path.read_bytes()) for path in pushed}
    assert not {path: found for path, found in leaks.items() if found}
    assert trainer.args.hub_token == "S10planted" and trainer.args.model_init_kwargs is planted["model_init_kwargs"]
    arguments = torch.load(folder / "training_args.bin", weights_only=False)
    assert arguments.vllm_server_base_url == "http://node:8000/v1?n=1" and arguments.max_steps == 1


def test_the_search_finds_what_is_planted(tmp_path):
    """All forty are in the settings, and would be found in a file that has them."""
    assert find_planted(repr(plant()).encode()) == set(SECRETS) and len(SECRETS) == 40
    torch.save(plant()["model_init_kwargs"], tmp_path / "arguments.bin")
    assert len(find_planted((tmp_path / "arguments.bin").read_bytes())) > 10
    assert find_planted(zlib.compress(b"S01planted")) == {"S01planted"}


HARMLESS = {
    "pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>", "unk_token": "[UNK]", "image_token": "<image>",
    "max_tokens": 5, "num_tokens": 7, "max_new_tokens": 9, "min_tokens": "3", "skip_special_tokens": True,
    "additional_special_tokens": ["<a>", "word"], "stop_token_ids": [1, 2], "eos_token_id": 3, "suppress_tokens": [4],
    "kept_tokens": {"num_kept": 3, "tokens": [{"token_id": 4, "text": "Wait", "kept": 2, "counted": 3}]},
    "prompt_key": "question", "text_key": "text", "sort_keys": True, "keys_to_ignore_at_inference": ["past"],
    "num_key_value_heads": 2, "tokenizer": "some/tokenizer", "tokenize": True, "author": "me", "keyboard": "x",
    "system_token": "<|system|>", "token": None, "use_auth_token": True, "password_length": None, "bypass": "x",
    "metric": "pass@8", "pass_at_k": 8, "single_pass": "yes", "secretary": "x", "hub_model_id": "me/token-model",
    "padding_token": "<p>", "num_virtual_tokens": 8, "key": None, "cookie_jar_size": None, "signature_columns": ["prompt"],
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_settings_stay(name):
    value = {name: HARMLESS[name]}
    assert remove_secrets(value) is value


@pytest.mark.parametrize("name", NAMED)
def test_names_of_secrets_are_known_in_any_spelling(name):
    for spelling in (name, name.upper(), f"judge_{name}", f"my.{name}", name.replace("_", "-")):
        assert is_secret_name(spelling), spelling


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_secrets_are_known_in_any_text(form):
    assert remove_secrets_from_text(f"before {form} after") == "before <removed> after"
    assert remove_secrets({"note": [f"({form})"]}) == {"note": ["(<removed>)"]}


TEXT = """Train with `pip install trl-forking`, 20 % of the tokens, see https://hf.co/papers/2506.01939?page=2#top.
args = ForkingGRPOConfig("runs/a", token_selection="high_entropy", hub_revision="0123456789abcdef0123456789abcdef01234567")
task-force, sk-learn, hf_hub, eos_token = "</s>", basic arithmetic, bearer of bad news, Basic models, ask-me-anything-12345
key: value, `{"tokens": 5}`; mail me@host.org; git@github.com:me/repo.git; s3://bucket/key=1/part"""


def test_ordinary_text_stays():
    assert remove_secrets_from_text(TEXT) == TEXT
    assert remove_secrets({"text": TEXT}) == {"text": TEXT}


@pytest.mark.parametrize(
    ("address", "cleaned"),
    [
        ("http://me:pw@node:8000", "http://node:8000"),
        ("https://tok@host/a?x=1", "https://host/a?x=1"),
        ("https://host/a?api_key=abc", "https://host/a"),
        ("https://host/a?x=1&apiKey=abc&y=2", "https://host/a?x=1&y=2"),
        ("https://host/a?X-Amz-Signature=ab&X-Amz-Security-Token=cd&part=3#s", "https://host/a?part=3#s"),
        ("https://host/a?sig=ab%2Fc&se=2", "https://host/a?se=2"),
        ("https://host/a#access_token=ab&state=1", "https://host/a#state=1"),
        ("postgresql://user:pw@db/name?password=x", "postgresql://db/name"),
        ("https://host/a?max_tokens=5&pad_token=0", "https://host/a?max_tokens=5&pad_token=0"),
    ],
)
def test_addresses_lose_what_is_secret(address, cleaned):
    assert remove_secrets_from_text(address) == cleaned
    assert remove_secrets([address]) == [cleaned]


@pytest.mark.parametrize(
    "value",
    [
        ["--api-key", "Planted1"],
        ["--token=Planted1"],
        {"env": [{"name": "HF_TOKEN", "value": "Planted1"}]},
        {"password": 12345678},
        {"config": '{"api_key": "Planted1", "n": 1}'},
        {"header": "Authorization: Basic Planted1"},
        {"odbc": "Server=a;Pwd=Planted1;Database=b"},
        {"a": ({"b": {"tokens": ("Planted1",)}},)},
        {"bytes": b"password=Planted1"},
        {"nested": BitsAndBytesConfig, "judge": Judge("Planted1")},
        {"known": {"api_key": "Planted1x9"}, "elsewhere": "path/of/Planted1x9/file"},
    ],
    ids=str,
)
def test_other_ways_to_write_a_secret(value):
    before = copy.deepcopy(value)
    text = str(remove_secrets(value))
    assert "Planted1" not in text and "12345678" not in text
    assert value == before  # nothing is changed in place


def test_a_value_that_holds_itself_is_no_endless_loop():
    value = {"api_key": "Planted1"}
    value["self"] = value
    assert "Planted1" not in str(remove_secrets(value))


def test_copies_keep_the_secrets_and_pickles_have_none(tmp_path):
    args = ForkingGRPOConfig(tmp_path, use_cpu=True)
    for name, value in plant().items():
        setattr(args, name, value)
    for copied in (copy.copy(args), copy.deepcopy(args)):
        assert {name: getattr(copied, name) for name in plant()} == plant()
    assert not find_planted(pickle.dumps(args)) and not find_planted(args.to_json_string().encode())
    assert not find_planted(repr(args.to_sanitized_dict()).encode())
    assert args.to_dict()["hub_token"] == "<HUB_TOKEN>" and args.generation_kwargs == plant()["generation_kwargs"]


def test_a_record_without_secrets_is_written_as_it_is(tmp_path):
    trainer = build_trainer(str(tmp_path), max_steps=1)
    trainer.create_model_card("tiny")
    run = read_record(tmp_path)
    write_record(tmp_path, run)
    assert read_record(tmp_path) == run == remove_secrets(run)


def test_a_file_that_has_a_secret_already_is_cleaned_where_it_is_read(tmp_path):
    trainer = build_trainer(str(tmp_path), max_steps=1)
    trainer.create_model_card("tiny")
    (tmp_path / "forking_config.yaml").write_text(
        "max_steps: 3\npasswd: Planted1\nmodel_init_kwargs:\n  hf_tokens: [Planted1]\n"
    )
    assert "Planted1" not in read_config(tmp_path)
    assert "Planted1" not in rebuild_card(tmp_path).read_text()
