"""What the fork path relies on in Transformers: the cache, the masks, and layers that checkpoint their activations.

Each test fails with a sentence that names what has changed.
"""

import torch
from transformers import Cache, masking_utils
from transformers.modeling_layers import GradientCheckpointingLayer

from helpers.tiny import build_model


IDS = torch.tensor([[5, 6, 7, 8]])
INPUTS = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "use_cache": False}


class Listener(Cache):
    def __init__(self):
        super().__init__(layers=[])
        self.calls = []

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        self.calls.append((layer_idx, key_states.shape, value_states.shape))
        return key_states, value_states

    def get_seq_length(self, *args, **kwargs):
        return 0

    get_query_offset = get_seq_length


def test_every_layer_hands_keys_and_values_to_the_cache_and_attends_to_what_it_returns():
    model, listener = build_model(), Listener()
    expected = model.model(**INPUTS).last_hidden_state
    state = model.model(**INPUTS, past_key_values=listener).last_hidden_state
    shape = (1, 1, 4, 8)  # rows, heads, columns, size
    assert listener.calls == [(layer, shape, shape) for layer in range(2)] and torch.allclose(state, expected), (
        "Transformers' attention no longer calls past_key_values.update(keys, values, layer) with tensors (B, H, S, D) when "
        f"use_cache is False: it made the calls {listener.calls}."
    )
    listener.update = lambda keys, values, *args: (keys, torch.zeros_like(values))
    assert not torch.allclose(model.model(**INPUTS, past_key_values=listener).last_hidden_state, expected), (
        "Transformers' attention no longer attends to the values that past_key_values.update returns."
    )


def test_masks_are_made_by_functions_that_can_be_replaced_for_a_while():
    model, interface, seen = build_model(), masking_utils.ALL_MASK_ATTENTION_FUNCTIONS, []
    make_mask = interface["sdpa"]

    def make_and_note(*args, **kwargs):
        seen.append((args, kwargs))
        return make_mask(*args, **kwargs)

    interface["sdpa"] = make_and_note
    try:
        model.model(**INPUTS)
    finally:
        del interface["sdpa"]
    assert interface["sdpa"] is make_mask, (
        "Deleting an entry of Transformers' ALL_MASK_ATTENTION_FUNCTIONS no longer restores what was registered."
    )
    assert seen, "Transformers no longer makes the masks of a model by ALL_MASK_ATTENTION_FUNCTIONS['sdpa']."
    names = {"mask_function", "allow_is_causal_skip"}
    assert all(not args and names <= set(kwargs) for args, kwargs in seen), (
        f"Transformers no longer passes {sorted(names)} to the function that makes a mask, by keyword: {seen}."
    )
    sees = seen[0][1]["mask_function"](
        torch.tensor(0), torch.tensor(0), torch.tensor([[2]]), torch.tensor([[1, 2, 3]])
    )
    assert sees.tolist() == [[True, True, False]], (
        "A mask_function of Transformers no longer says by the numbers of row, head, query and key what a query sees."
    )


def test_a_layer_that_checkpoints_keeps_its_cache_if_it_is_told_so():
    if not hasattr(GradientCheckpointingLayer, "_can_checkpoint_with_cache"):
        return  # an older Transformers: the fork path turns checkpointing off
    model, listener = build_model().train(), Listener()
    model.gradient_checkpointing_enable()
    for layer in model.model.layers:
        layer._can_checkpoint_with_cache = True
    model.model(**INPUTS, past_key_values=listener).last_hidden_state.sum().backward()
    assert [layer for layer, *_ in listener.calls] == [0, 1, 1, 0], (
        "Transformers' GradientCheckpointingLayer no longer reads its cache again in the backward pass if "
        f"_can_checkpoint_with_cache is set: its layers called it in the order {[layer for layer, *_ in listener.calls]}."
    )
