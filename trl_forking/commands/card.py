"""`trl-forking card`: makes the card of a finished run again, from the files in its folder."""

from dataclasses import dataclass, field
from pathlib import Path

from ..card.evaluation_results import read_evaluation_results
from ..card.run_files import read_record
from ..run.user_errors import UserError, exit_on_user_error
from .arguments import ForkingParser


@dataclass
class CardArguments:
    """
    Which run `trl-forking card` makes the card of.

    Parameters:
        folder (`str`, *optional*):
            Folder of the run. It may stand alone, without the flag, as the first argument.
        eval_results (`list[str]`, *optional*):
            Evaluation files to put into the folder and onto the card.

    Example:
    ```python
    >>> from trl_forking.commands.card import CardArguments
    >>> CardArguments(folder="runs/demo").eval_results is None
    True
    ```
    """

    folder: str | None = field(default=None, metadata={"help": "Folder of the run: the output_dir of a trainer."})
    eval_results: list[str] | None = field(
        default=None,
        metadata={
            "help": "Evaluation files to put into the folder and onto the card; those in the folder are on it anyway."
        },
    )


def run_card(flags: list[str]) -> None:
    """
    Run `trl-forking card FOLDER [--eval_results FILE ...]`: make a run's card again, without loading the model.

    Args:
        flags (`list[str]`):
            The folder and flags.

    Raises:
        `SystemExit`: with code 2 and one sentence if the folder has no run, or a file in it is broken.

    Example:
    ```python
    >>> from trl_forking.commands.card import run_card
    >>> run_card(["no-such-run"])
    Traceback (most recent call last):
        ...
    SystemExit: 2
    ```
    """
    parser = ForkingParser(
        CardArguments,
        prog="trl-forking card",
        usage="trl-forking card FOLDER [--eval_results FILE ...]",
        description="Make the model card of a finished run again, from the files in its folder.",
        groups={"Flags": CardArguments.__annotations__},
        bare="folder",
    )
    (arguments,) = parser.parse_args_and_config(flags)
    with exit_on_user_error(parser.debug):
        if arguments.folder is None:
            raise UserError("the folder is missing: trl-forking card FOLDER, where FOLDER is the output_dir of a run.")
        # What is missing or broken is said before the import of what makes a card, which takes seconds.
        read_record(Path(arguments.folder), is_whole=True)
        read_evaluation_results(map(Path, arguments.eval_results or []))
        from ..card.model_card import rebuild_card

        path = rebuild_card(Path(arguments.folder), arguments.eval_results or [])
    print(f"Wrote {path}")
