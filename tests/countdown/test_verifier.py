"""The verifier against rules written down a second time, the reward, and where the forks are."""

from random import Random

import pytest

from trl_forking.countdown import (
    END_TOKEN,
    PAD_TOKEN,
    VOCABULARY,
    WORDS_PER_ATTEMPT,
    countdown_reward,
    list_attempts,
    make_countdown_dataset,
    mark_forks,
    verify_countdown,
)


RIGHT = "5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes"
WRONG = "3 * 2 = 6 left 6 5 , 6 - 5 = 1 vs 16 no"
PROBLEM = ([3, 5, 2], 16)


def follows_rules(completion: str, nums: list[int], goal: int) -> bool:
    """Check an answer rule by rule, as a reader would; nothing is shared with the verifier."""
    words = completion.split()
    for _ in range(3):
        part, words = words[:17], words[17:]
        if len(part) < 17 or any(part[i] != w for i, w in ((3, "="), (5, "left"), (8, ","), (12, "="), (14, "vs"))):
            return False
        if not all(part[i] in map(str, range(51)) for i in (0, 2, 4, 6, 7, 9, 11, 13, 15)):
            return False
        first, second, result, kept, rest, third, fourth, value, target = (
            int(part[i]) for i in (0, 2, 4, 6, 7, 9, 11, 13, 15)
        )
        if sorted([first, second, rest]) != sorted(nums) or kept != result or {third, fourth} != {result, rest}:
            return False
        for left, operation, right, outcome in ((first, part[1], second, result), (third, part[10], fourth, value)):
            outcomes = {"+": left + right, "-": left - right, "*": left * right}
            if left < right or outcomes.get(operation) != outcome:
                return False
        if target != goal or part[16] != ("yes" if value == goal else "no"):
            return False
        if part[16] == "yes":
            return not words
    return False


def test_verifier_accepts_what_the_rules_accept():
    random = Random(0)
    accepted = 0
    for problem in make_countdown_dataset("train", num_problems=300, seed=0):
        nums, goal = problem["nums"], problem["goal"]
        for length in (1, 2, 3, 4):
            answer = " ".join(random.choices(list_attempts(nums, goal), k=length))
            assert verify_countdown(answer, nums, goal) == follows_rules(answer, nums, goal), answer
            accepted += verify_countdown(answer, nums, goal)
    assert accepted > 50


def test_every_derivation_is_listed_once_for_each_pair_of_numbers():
    # 3 pairs, 3 operations, 3 operations; 9 * 8, 9 * 7 and 8 * 7 exceed 50, and so does what they lead to.
    assert len(list_attempts([1, 2, 3], 6)) == 27
    attempts = {attempt.rpartition(" vs ")[0] for attempt in list_attempts([9, 8, 7], 0)}
    by_hand = {
        "9 + 8 = 17 left 17 7 , 17 + 7 = 24",
        "9 + 8 = 17 left 17 7 , 17 - 7 = 10",
        "9 - 8 = 1 left 1 7 , 7 + 1 = 8",
        "9 - 8 = 1 left 1 7 , 7 - 1 = 6",
        "9 - 8 = 1 left 1 7 , 7 * 1 = 7",
        "9 + 7 = 16 left 16 8 , 16 + 8 = 24",
        "9 + 7 = 16 left 16 8 , 16 - 8 = 8",
        "9 - 7 = 2 left 2 8 , 8 + 2 = 10",
        "9 - 7 = 2 left 2 8 , 8 - 2 = 6",
        "9 - 7 = 2 left 2 8 , 8 * 2 = 16",
        "8 + 7 = 15 left 15 9 , 15 + 9 = 24",
        "8 + 7 = 15 left 15 9 , 15 - 9 = 6",
        "8 - 7 = 1 left 1 9 , 9 + 1 = 10",
        "8 - 7 = 1 left 1 9 , 9 - 1 = 8",
        "8 - 7 = 1 left 1 9 , 9 * 1 = 9",
    }
    assert attempts == by_hand


@pytest.mark.parametrize("answer", [RIGHT, f"{WRONG} {RIGHT}", f"{WRONG} {WRONG} {RIGHT}"])
def test_verifier_rejects_every_change_of_one_word(answer):
    assert verify_countdown(answer, *PROBLEM)
    words = answer.split()
    survivors = []
    for position, word in enumerate(words):
        for other in set(VOCABULARY) - {word}:
            changed = " ".join([*words[:position], other, *words[position + 1 :]])
            assert verify_countdown(changed, *PROBLEM) == follows_rules(changed, *PROBLEM), changed
            survivors += [changed] if verify_countdown(changed, *PROBLEM) else []
        shortened = " ".join(words[:position] + words[position + 1 :])
        assert not verify_countdown(shortened, *PROBLEM)
        assert not verify_countdown(" ".join(words[:position]), *PROBLEM), "an answer cut short"
    assert not survivors


@pytest.mark.parametrize(
    "answer",
    [
        f"{RIGHT} {RIGHT}",
        f"{RIGHT} {WRONG}",
        f"{WRONG} {WRONG} {WRONG} {RIGHT}",
        f"{RIGHT} {END_TOKEN}",
        RIGHT.replace("yes", "no"),
        WRONG.replace("no", "yes"),
        RIGHT.replace("5 + 3", "3 + 5"),
        RIGHT.replace("left 8 2", "left 2 8"),
        RIGHT.replace("16", "016"),
    ],
)
def test_verifier_rejects(answer):
    assert not verify_countdown(answer, *PROBLEM)


def test_verifier_raises_on_no_string():
    random = Random(0)
    soups = [" ".join(random.choices(VOCABULARY, k=random.randrange(80))) for _ in range(500)]
    oddities = [
        "",
        " ",
        "\n\x00\t",
        "yes",
        "no " * 10_000,
        "٣ + ٢",
        "５ + 3",
        "-1",
        "1e9",
        "\ud800",
        "= " * 51,
        "%s {0}",
    ]
    assert not any(verify_countdown(text, *PROBLEM) for text in soups + oddities)


def test_reward_is_called_as_trl_calls_it():
    rewards = countdown_reward(
        prompts=["", ""],
        completions=[RIGHT, WRONG],
        completion_ids=[[1], [2]],
        nums=[[3, 5, 2]] * 2,
        goal=[16, 16],
        trainer_state=None,
    )
    assert rewards == [1.0, 0.0]
    with pytest.raises(ValueError):
        countdown_reward(prompts=[""], completions=[RIGHT, WRONG], nums=[[3, 5, 2]], goal=[16])


def test_four_of_seventeen_words_are_forks():
    tokens = [*f"{WRONG} {WRONG} {RIGHT}".split(), END_TOKEN, PAD_TOKEN, PAD_TOKEN]
    marks = mark_forks(tokens)
    assert len(marks) == len(tokens)
    assert [i for i, mark in enumerate(marks) if mark] == [0, 1, 2, 10, 17, 18, 19, 27, 34, 35, 36, 44]
    assert mark_forks([]) == []
    assert mark_forks([END_TOKEN]) == [False]
    for end in ("", END_TOKEN, PAD_TOKEN):
        assert not any(mark_forks(f"{RIGHT} {end} {WRONG} {WRONG}".split())[17:])


def test_forks_are_found_again_after_a_malformed_attempt():
    tokens = ["3", "*", "2", "=", "6", "no", "5", "+", "3"]
    assert [token for token, mark in zip(tokens, mark_forks(tokens), strict=True) if mark] == [
        "3",
        "*",
        "2",
        "5",
        "+",
        "3",
    ]


def test_forks_are_where_legal_attempts_part():
    """Every way to go on is enumerated: a choice is left at each fork in some attempt, and nowhere else in any."""
    choices = [set() for _ in range(WORDS_PER_ATTEMPT)]
    for nums, goal in (PROBLEM, ([9, 4, 7], 12), ([2, 2, 8], 6)):
        attempts = [attempt.split() for attempt in list_attempts(nums, goal)]
        for attempt in attempts:
            for position in range(WORDS_PER_ATTEMPT):
                same_so_far = [other for other in attempts if other[:position] == attempt[:position]]
                choices[position].add(len({other[position] for other in same_so_far}))
    is_fork = mark_forks(RIGHT.split())
    assert [max(numbers) > 1 for numbers in choices] == is_fork
