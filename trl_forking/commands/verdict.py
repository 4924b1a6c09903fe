"""`trl-forking verdict`: says what a finished run shows, from the log in its folder. Runs of TRL can be judged too."""

from dataclasses import dataclass, field
from pathlib import Path

from ..card.run_files import RECORD_FILE, read_record
from ..run.user_errors import UserError, exit_on_user_error
from ..verdict.history import RunHistory, collect_columns, find_state, read_state
from ..verdict.verdict import Verdict, judge_run, write_verdict
from .arguments import ForkingParser


@dataclass
class VerdictArguments:
    """
    Which run `trl-forking verdict` judges.

    Parameters:
        folder (`str`, *optional*):
            Folder of the run or of a checkpoint. It may stand alone, without the flag, as the first argument.

    Example:
    ```python
    >>> from trl_forking.commands.verdict import VerdictArguments
    >>> VerdictArguments(folder="runs/demo").folder
    'runs/demo'
    ```
    """

    folder: str | None = field(
        default=None, metadata={"help": "Folder of the run or of a checkpoint, of this library or of TRL."}
    )


def run_verdict(flags: list[str]) -> None:
    """
    Run `trl-forking verdict FOLDER`: judge a run by the state that its trainer saved.

    Args:
        flags (`list[str]`):
            The folder and flags.

    Raises:
        `SystemExit`: with code 2 and one sentence if the folder has no state of a trainer, or the state is broken.

    Example:
    ```python
    >>> from trl_forking.commands.verdict import run_verdict
    >>> run_verdict(["no-such-run"])
    Traceback (most recent call last):
        ...
    SystemExit: 2
    ```
    """
    parser = ForkingParser(
        VerdictArguments,
        prog="trl-forking verdict",
        usage="trl-forking verdict FOLDER",
        description="Say what a finished run shows, from the log in its folder: this library's runs and TRL's.",
        groups={"Flags": VerdictArguments.__annotations__},
        bare="folder",
    )
    (arguments,) = parser.parse_args_and_config(flags)
    with exit_on_user_error(parser.debug):
        verdict, path = judge_folder(arguments.folder)
    print("\n".join(verdict.sentences))
    print(f"Wrote {path}")


def judge_folder(folder: str | None) -> tuple[Verdict, Path]:
    """
    Judge the run in a folder and write `verdict.json` into it.

    Args:
        folder (`str`, *optional*):
            Folder of the run or of a checkpoint.

    Returns:
        `tuple[Verdict, Path]`: the verdict and the file.

    Raises:
        `ValueError`: if there is no state, or it is broken.
    """
    if folder is None:
        raise UserError("the folder is missing: trl-forking verdict FOLDER, where FOLDER is the output_dir of a run.")
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"{folder}: there is no such folder; give the output_dir of a run, or one of its checkpoints.")
    verdict = judge_run(read_folder(path))
    return verdict, write_verdict(path, verdict)


def read_folder(folder: Path) -> RunHistory:
    """
    Read the log of a run: from the record of this library, which has all steps, or from the newest state of a trainer.

    Args:
        folder (`Path`):
            Folder of the run or of a checkpoint.

    Returns:
        [`~trl_forking.verdict.history.RunHistory`]

    Raises:
        `ValueError`: if there is neither, or the file is broken.
    """
    if (folder / RECORD_FILE).is_file():
        record = read_record(folder)
        return collect_columns(record.get("history", {}), record.get("forking", {}))
    state = find_state(folder)
    if state is None:
        raise UserError(
            f"{folder} has neither {RECORD_FILE} nor a trainer_state.json, also not in a checkpoint; give the output_dir of "
            "a run, or one of its checkpoints."
        )
    return read_state(state)
