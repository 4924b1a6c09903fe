"""Pushing to the Hub. A failed push never stops training, and one sentence says why it failed."""

import inspect
import logging
import shlex
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import get_token, is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import Trainer
from transformers.trainer_utils import HubStrategy
from transformers.utils.hub import hf_api

from ..card.failures import warning_of_failure
from ..run.run_folder import check_other_run, explaining_full_disk
from .errors import NO_TOKEN, OFFLINE, PushError, describe_failure, describe_name, is_from_client


logger = logging.getLogger(__name__)

_NOT_PUSHED = ("_*", "checkpoint-*")  # Transformers does not push these into the main folder of the repository


def prepare_push(args: Any) -> None:
    """
    Check if a push can work before anything is loaded or sent.

    Args:
        args ([`ForkingGRPOConfig`]):
            Settings of the run.

    Raises:
        `ValueError`: with `push_to_hub=True`, if there is no token, the Hub does not allow the name, or the Hub is offline.

    Example:
    ```python
    >>> from trl_forking import ForkingGRPOConfig
    >>> prepare_push(ForkingGRPOConfig("runs/my run", push_to_hub=True))
    Traceback (most recent call last):
        ...
    ValueError: hub_model_id (by default the name of output_dir) is 'my run', which the Hub does not allow: ...
    ```
    """
    if not args.push_to_hub:
        return
    repo_id = _get_repo_id(args)
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(describe_name(repo_id)) from error
    obstacle = OFFLINE if is_offline_mode() else None
    if args.process_index == 0 and not (args.hub_token or get_token()):  # no other process needs one
        obstacle = NO_TOKEN
    if obstacle is not None:
        raise ValueError(f"push_to_hub=True, but {obstacle}, or train without push_to_hub and push later.")


class PushMixin(Trainer):
    """
    Saves and pushes like [`~transformers.Trainer`]. If a push fails, one sentence says why and what to do.

    `push_to_hub` raises a [`PushError`] with this sentence, after everything was saved. Training and saving log the sentence
    as a warning and continue.
    """

    hub_model_id: str | None
    is_recorded: bool

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        if self.state.global_step == 0 and not resume_from_checkpoint:  # a second call continues in its own folder
            self._begin_in_folder()
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _begin_in_folder(self) -> None:
        check_other_run(self.args, has_saved=self.is_recorded)
        if self.is_world_process_zero() and not self.is_recorded:
            with warning_of_failure():  # evaluation files that appear from now on belong to this run
                from ..card.earlier_run import (
                    set_aside_other_run,  # it costs time that an import of the trainer need not take
                )

                set_aside_other_run(self.args.output_dir)

    def init_hf_repo(self, *args, **kwargs):
        try:
            super().init_hf_repo(*args, **kwargs)
            if self.args.push_to_hub and self.is_world_process_zero():
                _check_write_access(str(self.hub_model_id), self.args.hub_token)
        except Exception as error:
            if not is_from_client(error):
                raise
            repo_id = self.hub_model_id or _get_repo_id(self.args)
            self.hub_model_id = None
            raise PushError(
                f"{repo_id} cannot be pushed to, because {describe_failure(error)}, or train without push_to_hub and "
                "push later."
            ) from error

    def push_to_hub(self, *args, **kwargs):
        try:
            commit = super().push_to_hub(*args, **kwargs)
        except Exception as error:
            if not is_from_client(error):
                raise
            if (
                self.hub_model_id is None
            ):  # it failed before Transformers saved, and the other processes are saving now
                self.save_model(_internal_call=True)
            cause = error.__cause__ if isinstance(error, PushError) else error
            raise PushError(_describe_push(self, cause, kwargs.get("private"))) from cause
        if isinstance(commit, Future):
            _watch(self, [commit])
        return commit

    def save_model(self, output_dir=None, _internal_call=False):
        folder = output_dir or self.args.output_dir
        with explaining_full_disk(folder, self.args.output_dir), _warning_of_failed_push():
            super().save_model(output_dir, _internal_call)

    def _save_checkpoint(self, model, trial):
        output_dir = self.args.output_dir
        with explaining_full_disk(f"{output_dir}/checkpoint-{self.state.global_step}", output_dir):
            super()._save_checkpoint(model, trial)

    def _push_from_checkpoint(self, checkpoint_folder):
        if not self.is_world_process_zero():
            return
        args, before = self.args, self.push_in_progress
        pushes_folder = args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS)
        if args.hub_always_push or (pushes_folder and args.save_total_limit is not None):
            # Otherwise files that the last push still reads are overwritten, or soon deleted.
            self._finish_current_push()
        try:
            super()._push_from_checkpoint(checkpoint_folder)
        except Exception as error:
            logger.warning(_describe_push(self, error))
        if self.push_in_progress is not before:
            _watch(self, self.push_in_progress.jobs)


def _check_write_access(repo_id: str, token: str | None) -> None:
    """Check that the token may write to an existing repository. The call that creates repositories does not check that."""
    api = hf_api()
    if "write" not in inspect.signature(api.auth_check).parameters:
        return  # huggingface_hub is older
    try:
        api.auth_check(repo_id, token=token, write=True)
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):  # other answers say nothing about rights
            raise


@contextmanager
def _warning_of_failed_push() -> Iterator[None]:
    try:
        yield
    except PushError as error:
        logger.warning(str(error))


def _watch(trainer: Trainer, jobs: list[Future]) -> None:
    """Warn if a push in the background fails, because Transformers does not check its result."""
    failed: list[Future] = []

    def look(job: Future) -> None:
        error = None if job.cancelled() else job.exception()
        if error is not None and not failed:  # the pushes of the model and of its checkpoint fail for the same reason
            logger.warning(_describe_push(trainer, error))
            failed.append(job)

    for job in jobs:
        job.add_done_callback(look)


def _describe_push(trainer: Trainer, error: BaseException | None, private: bool | None = None) -> str:
    args, repo_id = trainer.args, trainer.hub_model_id or _get_repo_id(trainer.args)
    command = ["hf", "upload", repo_id, str(args.output_dir), "."]
    for pattern in _NOT_PUSHED:
        command += ["--exclude", pattern]
    if (
        args.hub_private_repo if private is None else private
    ):  # the command creates the repository if it does not exist
        command.append("--private")
    if args.hub_revision is not None:
        command += ["--revision", args.hub_revision]
    then = ", training continues, and the next save pushes again" if trainer.is_in_train else ""
    return (
        f"The push to {repo_id} failed, because {describe_failure(error)}, and push again with trainer.push_to_hub() or, "
        f"in a shell, `{shlex.join(command)}`. Nothing is lost: the run is in {args.output_dir}{then}."
    )


def _get_repo_id(args: Any) -> str:
    return args.hub_model_id or Path(args.output_dir).absolute().name
