"""Accelerate reads every config of the examples, and starts what its name says."""

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from trl_forking.commands.recipes import find_examples


CONFIGS = {path.stem: path for path in sorted((find_examples() / "accelerate_configs").glob("*.yaml"))}


def launch(name, *flags):
    """Let accelerate read a config as `accelerate launch` does, and return what it makes of it."""
    return _validate_launch_command(
        launch_command_parser().parse_args(["--config_file", str(CONFIGS[name]), *flags, "train.py"])
    )[0]


def test_there_is_a_config_for_everything_promised():
    assert set(CONFIGS) == {"ddp", "zero2", "zero3", "fsdp2", "multi_node"}


@pytest.mark.parametrize("name", CONFIGS)
def test_accelerate_reads_every_config_and_knows_all_its_keys(name):
    config = load_config_from_file(str(CONFIGS[name]))
    assert config.mixed_precision == "bf16"
    known = {action.dest for action in launch_command_parser()._actions}
    for key in [*config.deepspeed_config, *config.fsdp_config]:  # accelerate itself takes any key in these
        assert key in known, key


def test_a_key_that_accelerate_does_not_know_is_refused(tmp_path):
    """The comparison above can fail."""
    path = tmp_path / "ddp.yaml"
    path.write_text(CONFIGS["ddp"].read_text() + "num_gpus: 8\n")
    with pytest.raises(ValueError, match="unknown keys"):
        load_config_from_file(str(path))


@pytest.mark.parametrize(("name", "stage"), [("zero2", "2"), ("zero3", "3"), ("multi_node", "3")])
def test_zero_configs_start_deepspeed_at_their_stage(name, stage):
    args = launch(name, *(["--main_process_ip", "node0", "--machine_rank", "1"] if name == "multi_node" else []))
    assert args.use_deepspeed and not args.use_fsdp and not args.multi_gpu
    args.deepspeed_fields_from_accelerate_config = ""
    environment = prepare_deepspeed_cmd_env(args)[1]
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == stage
    assert environment["ACCELERATE_DEEPSPEED_ZERO3_INIT"] == str(stage == "3").lower()
    assert environment["ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE"] == "none"
    if name == "multi_node":
        machines = (args.nnodes, args.nproc_per_node, args.node_rank, args.rdzv_endpoint)
        assert machines == ("4", "8", 1, "node0:29500")
    else:
        assert args.nproc_per_node == "8"


def test_fsdp2_config_starts_version_2_and_reshards():
    args = launch("fsdp2")
    assert args.use_fsdp and not args.use_deepspeed
    environment = prepare_multi_gpu_env(args)
    assert environment["FSDP_VERSION"] == "2"
    assert environment["FSDP_RESHARD_AFTER_FORWARD"] == "true"
    assert environment["FSDP_ACTIVATION_CHECKPOINTING"] == "false"
    assert environment["FSDP_OFFLOAD_PARAMS"] == "false"


def test_ddp_config_starts_no_sharding():
    args = launch("ddp", "--num_processes", "4")
    assert args.multi_gpu and not args.use_fsdp and not args.use_deepspeed
    prepare_multi_gpu_env(args)
    assert args.nproc_per_node == "4"
