"""Lets a model answer problems, judges the answers and writes both into a folder, from where an interrupted run goes on."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..analysis.collect import encode_prompt
from ..analysis.provenance import compute_hash, list_versions, prepare_folder
from ..analysis.shards import find_missing_shards
from ..decoding.sampling import derive_seed
from ..run.user_errors import UserError
from ..writing.lock import lock_folder
from .engines import Engine
from .records import JudgedAnswer, write_answers
from .verifiers import Verifier, count_votes


class EngineStopped(RuntimeError):
    """
    The engine failed in the midst of an evaluation. The answers that were finished before are in the folder.

    Example:
    ```python
    >>> from trl_forking.evaluation.answering import EngineStopped
    >>> raise EngineStopped("Out of memory after 16 of 30 problems.")
    Traceback (most recent call last):
        ...
    trl_forking.evaluation.answering.EngineStopped: Out of memory after 16 of 30 problems.
    ```
    """


def answer_problems(
    engine: Engine,
    rows: Sequence[dict[str, Any]],
    folder: str | Path,
    *,
    verifier: Verifier,
    description: dict[str, Any] | None = None,
    context_length: int | None = None,
    shard_size: int = 16,
    seed: int = 42,
    overwrite: bool = False,
    disable_tqdm: bool = False,
) -> Path:
    """
    Let a model answer problems, judge the answers, and write both into a folder.

    A shard of problems is written when it is finished. If the evaluation was interrupted, call the function again with
    the same arguments: it answers the missing shards, and the answers are the same as without the interruption.

    Args:
        engine ([`Engine`]):
            What draws the answers.
        rows (`Sequence[dict]`):
            Problems with `key`, `prompt` (a text, or a chat for the chat template) and what the verifier reads, such as
            `solution`.
        folder (`str` or `Path`):
            Folder to write `run.json` and `answers/` to. [`read_answers`] reads it.
        verifier ([`Verifier`]):
            What judges the answers.
        description (`dict`, *optional*):
            More entries for `run.json`, such as the name of the model. An evaluation only goes on with the same ones.
        context_length (`int`, *optional*):
            Largest number of tokens of a prompt and its answer.
        shard_size (`int`, *optional*, defaults to `16`):
            Problems of a shard. They are answered together.
        seed (`int`, *optional*, defaults to `42`):
            Seed of the answers.
        overwrite (`bool`, *optional*, defaults to `False`):
            Whether to delete other answers that are in the folder.
        disable_tqdm (`bool`, *optional*, defaults to `False`):
            Whether to hide the progress bar.

    Returns:
        `Path`: `folder`.

    Raises:
        `ValueError`: if there are no problems, a prompt is empty or too long, or the folder has answers that were drawn
            with other settings or another process writes to it.
        [`EngineStopped`]: if the engine fails.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_model, load_countdown_tokenizer
    >>> from trl_forking.decoding.sampling import SamplingSettings
    >>> from trl_forking.evaluation.answering import answer_problems
    >>> from trl_forking.evaluation.engines import TransformersEngine
    >>> from trl_forking.evaluation.records import read_answers
    >>> from trl_forking.evaluation.verifiers import MathVerifier
    >>> engine = TransformersEngine(load_countdown_model(), load_countdown_tokenizer(), SamplingSettings(2, 8))
    >>> rows = [{"key": "a", "prompt": "nums 3 5 2 goal 16 :", "solution": "16"}]
    >>> folder = answer_problems(engine, rows, "evaluation", verifier=MathVerifier(), disable_tqdm=True)
    >>> [answer.verdict for answer in read_answers(folder)]
    ['unreadable', 'unreadable']
    ```
    """
    if not rows:
        raise ValueError("There are no problems to answer.")
    prompts = encode_prompts([row["prompt"] for row in rows], engine.tokenizer)
    _check_prompts([ids for _, ids in prompts], engine.settings.max_completion_length, context_length)
    settings = {
        **(description or {}),
        **engine.description,
        **asdict(engine.settings),
        "num_problems": len(rows),
        "prompts": compute_hash([[row["key"], text] for row, (text, _) in zip(rows, prompts, strict=True)]),
        "verifier": verifier.name,
        "seed": seed,
        "shard_size": shard_size,
        "num_shards": -(-len(rows) // shard_size),
        "versions": list_versions(),
    }
    # The longest prompts first: a batch that does not fit into the memory fails at the beginning, and prompts of about
    # the same length need little padding.
    order = sorted(range(len(rows)), key=lambda index: (-len(prompts[index][1]), index))
    shards = [order[start : start + shard_size] for start in range(0, len(order), shard_size)]
    with lock_folder(folder):
        prepare_folder(Path(folder), settings, overwrite)
        _write_missing(engine, verifier, rows, prompts, shards, Path(folder), seed, disable_tqdm)
    return Path(folder)


def encode_prompts(prompts: Sequence[Any], tokenizer: Any) -> list[tuple[str, list[int]]]:
    """
    Encode the prompts of problems.

    Args:
        prompts (`Sequence`):
            Texts, or chats for the chat template.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the model.

    Returns:
        `list[tuple[str, list[int]]]`: the text and the tokens of each.

    Raises:
        [`UserError`]: if the tokenizer or its template cannot encode one of them, such as a tokenizer of few words.

    Example:
    ```python
    >>> from trl_forking.countdown import load_countdown_tokenizer
    >>> from trl_forking.evaluation.answering import encode_prompts
    >>> encode_prompts(["Prove it."], load_countdown_tokenizer())
    Traceback (most recent call last):
        ...
    trl_forking.run.user_errors.UserError: Problem 1 cannot be encoded by the tokenizer of the model ...
    ```
    """
    encoded = []
    for number, prompt in enumerate(prompts, start=1):
        try:
            encoded.append(encode_prompt(prompt, tokenizer))
        except Exception as error:  # tokenizers raise bare exceptions, and templates errors of their own
            cause = " ".join(str(error).split())[:200]
            raise UserError(
                f"Problem {number} cannot be encoded by the tokenizer of the model ({cause}): give other problems, another model or "
                "another --prompt_template."
            ) from error
    return encoded


def _check_prompts(prompts: Sequence[Sequence[int]], max_completion_length: int, context_length: int | None) -> None:
    for number, ids in enumerate(prompts, start=1):
        if not ids:
            raise UserError(f"Problem {number} has no tokens: a model needs at least one token to continue.")
        if context_length is not None and len(ids) + max_completion_length > context_length:
            left = context_length - len(ids)
            hint = f"set --max_completion_length to {left} or less" if left > 0 else "leave the problem out"
            raise UserError(
                f"Problem {number} has {len(ids):,} tokens, and with an answer of {max_completion_length:,} it does not "
                f"fit into the {context_length:,} tokens that the model can read: {hint}."
            )


def _write_missing(
    engine: Engine,
    verifier: Verifier,
    rows: Sequence[dict[str, Any]],
    prompts: Sequence[tuple[str, list[int]]],
    shards: Sequence[Sequence[int]],
    folder: Path,
    seed: int,
    disable_tqdm: bool,
) -> None:
    from tqdm.auto import tqdm

    missing = find_missing_shards(folder)
    num_generations = engine.settings.num_generations
    done = len(rows) - sum(len(shards[shard]) for shard in missing)
    with tqdm(
        total=len(rows) * num_generations,
        initial=done * num_generations,
        unit="answer",
        desc=folder.name,
        disable=disable_tqdm,
    ) as bar:
        for shard in missing:
            problems = shards[shard]
            try:
                drawn = engine.sample([prompts[index][1] for index in problems], derive_seed(seed, shard), bar.update)
                _check_drawn(drawn, len(problems), num_generations)
            except Exception as error:
                raise _explain_stop(error, done, len(rows), folder) from error
            answers = [
                answer
                for index, completions in zip(problems, drawn, strict=True)
                for answer in judge_answers(engine, verifier, rows[index], index, prompts[index][0], completions)
            ]
            write_answers(folder, shard, answers)
            done += len(problems)


def _check_drawn(drawn: Sequence[Sequence[Any]], num_problems: int, num_generations: int) -> None:
    numbers = [len(answers) for answers in drawn]
    if len(numbers) != num_problems or any(number > num_generations for number in numbers):
        raise ValueError(
            f"the engine returned {numbers} answers to {num_problems} problems, {num_generations} to each"
        )


def _explain_stop(error: Exception, done: int, num_problems: int, folder: Path) -> EngineStopped:
    cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    hint = " Lower --batch_size, which draws other answers." if "out of memory" in str(error).lower() else ""
    return EngineStopped(
        f"The engine stopped ({cause}). {done} of {num_problems} problems are answered and kept in {folder}; the same "
        f"command goes on from there.{hint}"
    )


def judge_answers(
    engine: Engine,
    verifier: Verifier,
    row: dict[str, Any],
    problem_index: int,
    prompt: str,
    completions: Sequence[Sequence[int]],
) -> list[JudgedAnswer]:
    """
    Judge the answers to one problem.

    Args:
        engine ([`Engine`]):
            What drew them.
        verifier ([`Verifier`]):
            What judges them.
        row (`dict`):
            The problem.
        problem_index (`int`):
            Its number.
        prompt (`str`):
            Its prompt, after the template.
        completions (`Sequence[Sequence[int]]` of length `n`):
            Tokens of the answers.

    Returns:
        `list[JudgedAnswer]`
    """
    texts = [engine.tokenizer.decode(ids, skip_special_tokens=True) for ids in completions]
    verdicts = [verifier.judge(row, text) for text in texts]
    votes = count_votes(verdicts, verifier)
    limit, ends = engine.settings.max_completion_length, set(engine.eos_token_ids)
    solution = row.get("solution")
    return [
        JudgedAnswer(
            problem_index=problem_index,
            key=row["key"],
            answer_index=index,
            prompt=prompt,
            solution=None if solution is None else str(solution),
            completion=texts[index],
            num_tokens=len(ids),
            is_truncated=len(ids) >= limit and not (ids and ids[-1] in ends),
            is_right=verdicts[index].is_right,
            read=verdicts[index].read,
            vote=votes[index],
        )
        for index, ids in enumerate(completions)
    ]
