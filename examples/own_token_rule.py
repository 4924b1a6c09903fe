# /// script
# requires-python = ">=3.11"
# dependencies = ["trl-forking"]
# ///
"""A token rule of your own: trains the built-in task on the tokens that surprised the policy, on a CPU in seconds."""

import sys

from trl_forking import ForkingGRPOConfig, ForkingGRPOTrainer, countdown
from trl_forking.selection.rules import TokenPlan, TokenStats, token_rule


@token_rule(needs=("log_prob",))
def surprising(stats: TokenStats) -> TokenPlan:
    return TokenPlan(scores=-stats.log_prob)  # the top 20 % by surprise, exactly, over all processes


ForkingGRPOTrainer(
    countdown.load_countdown_model(),
    countdown.countdown_reward,
    ForkingGRPOConfig(sys.argv[1], max_steps=2, max_completion_length=52, use_cpu=True, report_to="none"),
    countdown.make_countdown_dataset("train", num_problems=64, seed=0),
    processing_class=countdown.load_countdown_tokenizer(),
    token_rule=surprising,
).train()
