"""What token rules rely on in TRL: outputs of the fused head, clip ranges of single tokens, and when the reference is read.

Each test fails with a sentence that names what has changed.
"""

import inspect

import torch
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from helpers.tiny import build_model, build_trainer
from trl_forking.update.scoring import HEAD_OUTPUTS


IDS = torch.tensor([[5, 6, 7, 8, 9]])


def score(model):
    return model(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=IDS, fused_lm_head=True)


def test_the_fused_head_has_the_outputs_of_rules_and_can_be_added_twice():
    parameters = set(inspect.signature(add_fused_lm_head).parameters)
    assert {"temperature", "cast_lm_head_to_fp32", "outputs"} <= parameters, "add_fused_lm_head has other parameters"
    model = build_model()
    plain = model(input_ids=IDS).logits
    add_fused_lm_head(model, temperature=0.5, outputs=("log_probs", "entropy"))
    before = score(model)
    assert all(before.get(name) is None for name in HEAD_OUTPUTS.values()), "outputs that nobody asks for are computed"
    add_fused_lm_head(model, temperature=0.5, outputs=("log_probs", "entropy", *HEAD_OUTPUTS.values()))
    after = score(model)
    assert torch.equal(after.log_probs, before.log_probs), "a second head has other log-probabilities"
    assert torch.equal(model(input_ids=IDS).logits, plain), "the model's own logits changed with a head"
    probabilities = (plain[:, :-1] / 0.5).softmax(-1)
    torch.testing.assert_close(
        after.log_sum_sq_probs.exp(), probabilities.square().sum(-1), msg="log_sum_sq_probs is something else"
    )
    assert torch.equal(after.is_top1, probabilities.argmax(-1) == IDS[:, 1:]), "is_top1 is something else"


class Loss(GRPOTrainer):
    """TRL's loss with the ratios 1.3 and 0.7 at the two tokens of an answer, and what was read of the batch when."""

    def _get_per_token_logps_and_entropies(self, model, input_ids, *args, **kwargs):
        self.logps = torch.tensor([[1.3, 0.7]]).log().requires_grad_()
        if self.inputs is not None:
            self.inputs["ref_per_token_logps"] = self.logps.detach()
        return self.logps, torch.zeros(1, 2), None

    def compute_gradient(self, reference: torch.Tensor | None = None) -> list[float]:
        ids = torch.tensor([[5, 6]])
        self.inputs = {name: torch.ones_like(ids) for name in ("prompt_mask", "completion_mask")}
        self.inputs |= {"prompt_ids": ids, "completion_ids": ids, "advantages": torch.tensor([[1.0, -1.0]])}
        self.inputs |= {"old_per_token_logps": torch.zeros(1, 2), "num_items_in_batch": torch.tensor(2.0)}
        inputs = self.inputs
        if reference is not None:
            inputs["ref_per_token_logps"] = reference
        self.inputs = None if self.beta == 0.0 else inputs
        self._compute_loss(self.model, inputs).backward()
        return self.logps.grad.flatten().tolist()


def build_loss(tmp_path, **settings):
    trainer = build_trainer(tmp_path, Loss, GRPOConfig, loss_type="dapo", epsilon_high=0.2, **settings)
    trainer.inputs, trainer.current_gradient_accumulation_steps = None, 1
    trainer.args.steps_per_generation = 1
    trainer.model.train()
    return trainer


def test_clip_ranges_can_be_tensors(tmp_path):
    trainer = build_loss(tmp_path)
    assert trainer.compute_gradient() == [0.0, 0.0], "ratios of 1.3 and 0.7 are not clipped by 0.2 any more"
    trainer.epsilon_low, trainer.epsilon_high = torch.tensor([[0.2, 0.2]]), torch.tensor([[0.5, 0.2]])
    assert trainer.compute_gradient()[0] != 0.0, "epsilon_high is not read from the trainer, or not for each token"
    trainer.epsilon_low = torch.tensor([[0.2, 0.5]])
    assert trainer.compute_gradient()[1] != 0.0, "epsilon_low is not read from the trainer, or not for each token"


def test_the_reference_is_read_after_the_forward_pass_and_equal_ones_have_no_term(tmp_path):
    trainer = build_loss(tmp_path)
    trainer.beta = 0.5
    far = torch.full((1, 2), -9.0)
    assert trainer.compute_gradient(far) == [0.0, 0.0], "ref_per_token_logps is read before the forward pass"
