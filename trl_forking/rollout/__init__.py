"""How a rollout batch is made: dynamic sampling, the stream of prompts, and callbacks that see the rollout."""
