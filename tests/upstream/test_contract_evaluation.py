"""What this library relies on in the evaluations of Transformers and TRL. Each test fails with a sentence that names the change."""

from trl import GRPOConfig, GRPOTrainer

from helpers.tiny import build_dataset, build_trainer


class Listener(GRPOTrainer):
    """Adds a metric to the result of the evaluation loop, and notes its arguments and the problems of the answers."""

    def evaluation_loop(self, dataloader, *args, **kwargs):
        self.arguments, self.size, self.numbers, self.shapes = kwargs, len(dataloader.dataset), [], []
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        output.metrics["eval_own/value"] = 0.5
        return output

    def _calculate_rewards(self, inputs, *args):
        rewards = super()._calculate_rewards(inputs, *args)
        self.numbers += [row["number"] for row in inputs]
        self.shapes.append(tuple(rewards.shape))
        return rewards


def test_the_evaluation_loop_is_named_its_prefix_and_its_metrics_are_logged(tmp_path):
    evaluation = {"per_device_eval_batch_size": 8, "trainer_kwargs": {"eval_dataset": build_dataset(5)}}
    trainer = build_trainer(tmp_path, Listener, GRPOConfig, **evaluation)
    metrics = trainer.evaluate()
    assert trainer.arguments.get("metric_key_prefix") == "eval", (
        "Transformers' Trainer.evaluate no longer passes metric_key_prefix to evaluation_loop by name: EvaluationMixin "
        "reads the name of the evaluation set from it."
    )
    assert metrics["eval_own/value"] == trainer.state.log_history[-1]["eval_own/value"] == 0.5, (
        "Transformers' Trainer.evaluate no longer logs and returns the metrics of evaluation_loop."
    )
    assert trainer.size == 5, "TRL's evaluation data no longer has one row for each problem."
    groups = [trainer.numbers[start : start + 4] for start in range(0, 20, 4)]
    assert sorted(group[0] for group in groups) == [0, 1, 2, 3, 4] and all(len(set(group)) == 1 for group in groups), (
        "TRL's evaluation no longer asks each problem num_generations_eval times in a row, so that EvaluationMixin would "
        "put answers to different problems together."
    )
    assert trainer.shapes == [(8, 1), (8, 1), (4, 1)], "TRL no longer judges each batch of an evaluation once."
