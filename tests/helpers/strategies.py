"""What Accelerate reports about itself under each way to run two processes."""

EXPECTED = {
    "ddp": {"distributed_type": "MULTI_CPU", "zero_stage": None, "sharded": False},
    "zero2": {"distributed_type": "DEEPSPEED", "zero_stage": 2, "sharded": False},
    "zero3": {"distributed_type": "DEEPSPEED", "zero_stage": 3, "sharded": False},
    "fsdp2": {"distributed_type": "FSDP", "zero_stage": None, "sharded": True},
}
