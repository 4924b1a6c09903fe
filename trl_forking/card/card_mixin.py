"""The model card and the verdict in the trainer: made when a run ends, and when the model is saved."""

from pathlib import Path

from trl import GRPOTrainer

from .failures import warning_of_failure


# What the end of a run needs is imported then: it would double the time that the import of the trainer takes.


class CardMixin(GRPOTrainer):
    """
    Records the facts of a run in its folder, makes the model card of them, and says what the run shows.

    Attributes:
        is_recorded (`bool`): whether the record of this run is in its folder.
        prints_verdict (`bool`): whether the end of a training prints the verdict, if the run is long enough to have one.
    """

    is_recorded = False
    prints_verdict: bool = True

    def train(self, *args, **kwargs):
        output = super().train(*args, **kwargs)
        if self.is_world_process_zero():
            with warning_of_failure():
                from .model_card import record_run

                record_run(self)
                self._judge()
        return output

    def _judge(self) -> None:
        from ..verdict.history import collect_history
        from ..verdict.verdict import judge_run, write_verdict

        settings = {"dynamic_sampling": self.args.dynamic_sampling}
        verdict = judge_run(collect_history(self.state.log_history, settings))
        write_verdict(Path(self.args.output_dir), verdict)
        if self.prints_verdict and verdict.is_long_enough:
            print("\n".join(verdict.sentences))

    def create_model_card(self, model_name=None, dataset_name=None, tags=None, example_prompt=None):
        """Make the card in `output_dir`, with an example prompt for its quick start; see [`create_card`]."""
        if self.is_world_process_zero():
            names = {"model_name": model_name, "dataset_name": dataset_name, "tags": tags}
            with warning_of_failure():
                from .model_card import create_card

                create_card(self, **names, example_prompt=example_prompt)

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        if output_dir in (None, self.args.output_dir):
            self.create_model_card()  # PEFT has written into the metadata of the one that was there
