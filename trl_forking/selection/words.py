"""The words that the settings of a selection take. This module imports nothing."""

TOKEN_SELECTIONS = ("high_entropy", "low_entropy", "random")
SELECTION_SCOPES = ("batch", "micro_batch", "sequence")
LOSS_NORMALIZERS = ("kept", "all")

# Each of TRL's loss types divides by the tokens of the rollout batch, of one micro-batch or of one answer, or by no
# number of tokens. `loss_normalizer="kept"` counts over the same extent.
NORMALIZER_EXTENT = {
    "dapo": "batch",
    "cispo": "batch",
    "vespo": "batch",
    "bnpo": "micro_batch",
    "grpo": "sequence",
    "sapo": "sequence",
    "dr_grpo": None,
    "luspo": None,
}
