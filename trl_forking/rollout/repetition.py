"""How many answers of a rollout repeat an earlier answer to their prompt."""

import hashlib

import torch


def digest_answers(completion_ids: torch.Tensor, completion_mask: torch.Tensor) -> torch.Tensor:
    """
    Turn each answer into a number, the same for the same tokens.

    Args:
        completion_ids (`torch.Tensor` of shape `(B, T)`):
            Tokens of the answers.
        completion_mask (`torch.Tensor` of shape `(B, T)`):
            Which of them belong to the answer.

    Returns:
        `torch.Tensor` of shape `(B,)`: whole numbers.

    Example:
    ```python
    >>> ids, mask = torch.tensor([[5, 6, 0], [5, 6, 9], [5, 6, 7]]), torch.tensor([[1, 1, 0], [1, 1, 0], [1, 1, 1]])
    >>> first, second, third = digest_answers(ids, mask).tolist()
    >>> first == second, first == third
    (True, False)
    ```
    """
    rows = zip(completion_ids.cpu(), completion_mask.bool().cpu(), strict=True)
    digests = [hashlib.blake2b(ids[mask].numpy().tobytes(), digest_size=7).digest() for ids, mask in rows]
    numbers = [int.from_bytes(digest, "big") for digest in digests]
    return torch.tensor(numbers, dtype=torch.int64, device=completion_ids.device)


def compute_repeated_share(answers: torch.Tensor, num_generations: int) -> float:
    r"""
    Compute the share of answers that are the same as an earlier answer of their group.

    \\( 1 - \frac{1}{N G} \sum_n |\{a_{n1}, \dots, a_{nG}\}| \\) for `N` groups of `G` answers.

    Args:
        answers (`torch.Tensor` of shape `(N * G,)`):
            A number for each answer of all ranks, the answers of a group one after the other.
        num_generations (`int`):
            Answers in a group, `G`.

    Returns:
        `float`: 0 if all answers of each group differ, up to \\( 1 - 1 / G \\) if they are all the same.

    Example:
    ```python
    >>> compute_repeated_share(torch.tensor([7, 7, 8, 7, 7, 9, 9, 5]), num_generations=4)
    0.375
    ```
    """
    groups = answers.view(-1, num_generations).tolist()
    return 1 - sum(len(set(group)) for group in groups) / max(answers.numel(), 1)
