"""The built-in task: its splits, its verifier against rules written down a second time, its model."""

import json
import subprocess
import sys
from itertools import combinations_with_replacement
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from trl_forking.countdown import (
    ASSETS,
    END_TOKEN,
    MAX_COMPLETION_LENGTH,
    NUM_PROBLEMS,
    PAD_TOKEN,
    VOCABULARY,
    WORDS_PER_ATTEMPT,
    countdown_reward,
    evaluate_countdown,
    format_prompt,
    is_held_out,
    list_attempts,
    load_countdown_model,
    load_countdown_tokenizer,
    make_countdown_dataset,
    mark_forks,
    verify_countdown,
)
from trl_forking.countdown import task as countdown
from trl_forking.countdown import warm_start as countdown_warm_start


RIGHT = "5 + 3 = 8 left 8 2 , 8 * 2 = 16 vs 16 yes"
WRONG = "3 * 2 = 6 left 6 5 , 6 - 5 = 1 vs 16 no"
PROBLEM = ([3, 5, 2], 16)


@pytest.fixture(scope="module")
def model():
    return load_countdown_model()


@pytest.fixture(scope="module")
def tokenizer():
    return load_countdown_tokenizer()


@pytest.fixture(scope="module")
def problems():
    return make_countdown_dataset("eval", num_problems=512, seed=3)


# Verifier -------------------------------------------------------------------------------------------------------------


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


# Problems -------------------------------------------------------------------------------------------------------------


def test_splits_share_no_triple():
    triples = list(combinations_with_replacement(range(1, 10), 3))
    assert (len(triples), sum(map(is_held_out, triples))) == (165, 34)
    drawn = {
        split: {tuple(sorted(nums)) for nums in make_countdown_dataset(split, size, seed=0)["nums"]}
        for split, size in NUM_PROBLEMS.items()
    }
    assert not drawn["train"] & drawn["eval"]
    assert drawn["train"] | drawn["eval"] == set(triples)
    for split, size in NUM_PROBLEMS.items():
        assert size == len(countdown._list_problems(split))
        with pytest.raises(ValueError, match=str(size)):
            make_countdown_dataset(split, size + 1, seed=0)


def test_problems_are_solvable_distinct_and_reproducible():
    problems = make_countdown_dataset("eval", num_problems=400, seed=5)
    assert len(set(problems["prompt"])) == 400
    for problem in problems:
        nums, goal = problem["nums"], problem["goal"]
        assert all(1 <= number <= 9 for number in nums) and 0 <= goal <= 50
        assert problem["prompt"] == format_prompt(nums, goal)
        solutions = [attempt for attempt in list_attempts(nums, goal) if attempt.endswith("yes")]
        assert solutions and all(verify_countdown(solution, nums, goal) for solution in solutions)
    assert problems["prompt"] == make_countdown_dataset("eval", num_problems=400, seed=5)["prompt"]
    assert problems["prompt"] != make_countdown_dataset("eval", num_problems=400, seed=6)["prompt"]


@pytest.mark.parametrize(("split", "num_problems"), [("test", 4), ("train", 0), ("eval", -1)])
def test_wrong_requests_are_refused_in_a_sentence(split, num_problems):
    with pytest.raises(ValueError, match=r"^(split|num_problems) must be .*\.$"):
        make_countdown_dataset(split, num_problems, seed=0)


def test_warm_start_draws_no_held_out_triple():
    random = Random(0)
    seen = set()
    for _ in range(20_000):
        nums, goal = countdown_warm_start.draw_problem(random)
        seen.add(tuple(sorted(nums)))
        assert any(attempt.endswith("yes") for attempt in list_attempts(nums, goal))
    held_out = {tuple(sorted(nums)) for nums in make_countdown_dataset("eval", 1771, seed=0)["nums"]}
    assert not seen & held_out
    assert len([triple for triple in seen if max(triple) <= 9]) == 131


def test_warm_start_searches_are_legal():
    random = Random(0)
    right = 0
    for problem in make_countdown_dataset("train", num_problems=300, seed=0):
        nums, goal = problem["nums"], problem["goal"]
        search = countdown_warm_start.draw_search(nums, goal, random)
        words = search.split()
        attempts = [" ".join(words[i : i + WORDS_PER_ATTEMPT]) for i in range(0, len(words), WORDS_PER_ATTEMPT)]
        assert set(attempts) <= set(list_attempts(nums, goal)) and len(words) < MAX_COMPLETION_LENGTH
        assert verify_countdown(search, nums, goal) == search.endswith("yes")
        assert search.endswith("yes") or len(attempts) == 3
        right += search.endswith("yes")
    assert 60 < right < 240


# Forks ----------------------------------------------------------------------------------------------------------------


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


# Tokenizer and model --------------------------------------------------------------------------------------------------


def test_tokenizer_round_trip(tokenizer):
    texts = [format_prompt(*PROBLEM), f"{WRONG} {WRONG} {RIGHT} {END_TOKEN}", " ".join(VOCABULARY)]
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.convert_ids_to_tokens(ids) == text.split()
        assert len(ids) == len(text.split())
    assert tokenizer.decode(tokenizer(texts[1])["input_ids"], skip_special_tokens=True) == f"{WRONG} {WRONG} {RIGHT}"
    assert len(tokenizer) == 65
    padded = tokenizer([format_prompt(*PROBLEM), "5 + 3"], padding=True)
    assert padded["input_ids"][1][:4] == [tokenizer.pad_token_id] * 4
    assert padded["attention_mask"][1] == [0, 0, 0, 0, 1, 1, 1]


def test_shipped_files_are_those_that_the_code_builds(tokenizer, model):
    assert countdown_warm_start.build_countdown_tokenizer().get_vocab() == tokenizer.get_vocab()
    assert AutoTokenizer.from_pretrained(ASSETS).get_vocab() == tokenizer.get_vocab()
    built = countdown_warm_start.build_countdown_model().state_dict()
    shipped = model.state_dict()
    assert {name: tensor.shape for name, tensor in built.items()} == {k: v.shape for k, v in shipped.items()}
    assert {tensor.dtype for tensor in shipped.values()} == {torch.float32}
    assert 500_000 <= model.num_parameters() <= 700_000
    # What tokenizing in batches leaves behind must not be shipped.
    assert json.loads((ASSETS / "tokenizer.json").read_text())["padding"] is None
    # Names that Transformers 4 and 5 both read.
    assert json.loads((ASSETS / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    model_config = json.loads((ASSETS / "config.json").read_text())
    assert model_config["rope_theta"] == model_config["rope_parameters"]["rope_theta"] == 1000.0
    assert sum(path.stat().st_size for path in ASSETS.iterdir()) < 4_000_000
    reloaded = AutoModelForCausalLM.from_pretrained(ASSETS, dtype=torch.float32)
    ids = torch.arange(59).unsqueeze(0)
    assert torch.equal(reloaded(ids).logits, model(ids).logits)


def test_padding_on_the_left_changes_nothing(tokenizer, model):
    text = f"{format_prompt(*PROBLEM)} {RIGHT}"
    plain = tokenizer(text, return_tensors="pt")
    padded = tokenizer(text, return_tensors="pt", padding="max_length", max_length=59)
    length = plain["input_ids"].size(1)
    torch.testing.assert_close(model(**padded).logits[:, -length:], model(**plain).logits, atol=1e-4, rtol=0)


def test_shipped_model_solves_the_expected_share(tokenizer, model, problems):
    evaluation = evaluate_countdown(model, tokenizer, problems, seed=0)
    assert evaluation.num_problems == len(evaluation.completions) == 512
    checked = map(verify_countdown, evaluation.completions, problems["nums"], problems["goal"])
    assert evaluation.num_correct == sum(checked)
    assert evaluation.accuracy == evaluation.num_correct / 512
    assert evaluation.interval == countdown._compute_wilson_interval(evaluation.num_correct, 512)
    # It is 0.30 with a standard error of 0.02; which answers are drawn depends on the processor.
    assert 0.22 < evaluation.accuracy < 0.38


def test_evaluation_is_deterministic_and_leaves_no_trace(tokenizer, model, problems):
    few = problems.select(range(32))
    model.train()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = evaluate_countdown(model, tokenizer, few, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    torch.manual_seed(8)
    assert evaluate_countdown(model, tokenizer, few, seed=1) == first
    assert evaluate_countdown(model, tokenizer, few, seed=2).completions != first.completions
    model.eval()
    evaluate_countdown(model, tokenizer, few.select(range(2)), seed=1, batch_size=1)
    assert not model.training


def test_interval_is_wilsons():
    # Newcombe (1998), table I: 81 of 263 and 0 of 20.
    assert countdown._compute_wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert countdown._compute_wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_entropy_of_shipped_model_sits_at_the_forks(model, problems):
    figures = countdown_warm_start.compute_figures(model, problems, seed=0)
    assert figures["precision"] > 0.9
    assert figures["recall"] > 0.75
    assert figures["entropy held by the top 20 %"] > 0.9


# Module ---------------------------------------------------------------------------------------------------------------


def test_importing_the_task_is_cheap():
    code = (
        f"import runpy, sys; runpy.run_path({countdown.__file__!r}); "
        "print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
