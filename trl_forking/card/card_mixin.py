"""The model card in the trainer: recorded when a run ends, made when the model is saved."""

from trl import GRPOTrainer

from .model_card import create_card, record_run, warning_of_failure


class CardMixin(GRPOTrainer):
    """Records the facts of a run in its folder and makes the model card of them."""

    is_recorded = False

    def train(self, *args, **kwargs):
        output = super().train(*args, **kwargs)
        if self.is_world_process_zero():
            with warning_of_failure():
                record_run(self)
        return output

    def create_model_card(self, model_name=None, dataset_name=None, tags=None, example_prompt=None):
        """Make the card in `output_dir`, with an example prompt for its quick start; see [`create_card`]."""
        if self.is_world_process_zero():
            names = {"model_name": model_name, "dataset_name": dataset_name, "tags": tags}
            with warning_of_failure():
                create_card(self, **names, example_prompt=example_prompt)

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        if output_dir in (None, self.args.output_dir):
            self.create_model_card()  # PEFT has written into the metadata of the one that was there
