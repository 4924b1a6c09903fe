"""The right answer of a row: the clean column before prose, prose only where it gives a final answer, never a missing one."""

import pytest

from trl_forking.data.golds import find_gold
from trl_forking.data.values import NoAnswer, UnreadableAnswer


# Which column


@pytest.mark.parametrize(
    ("row", "text", "column"),
    [
        ({"answer": "80", "solution": "It needs 3 hours for 240 km, so $240/3=80$."}, "80", "answer"),
        ({"solution": r"We get \boxed{56}, which is $4$ less than 60.", "answer": 57}, "57", "answer"),
        ({"solution": "34", "reward_model": {"ground_truth": "35"}}, "34", "solution"),
        ({"solution": r"So \boxed{34}.", "reward_model": {"ground_truth": "35"}}, "35", "reward_model"),
        ({"answer": "", "solution": "8"}, "8", "solution"),
        ({"answer": None, "solution": r"It is \boxed{8}."}, "8", "solution"),
        ({"answer": "proof", "solution": r"Hence \boxed{8}."}, "8", "solution"),
        ({"answer": "nan", "solution": "", "reward_model": {"ground_truth": 9}}, "9", "reward_model"),
        ({"answer": "We add 2 and 3, and then it is more.", "solution": "5"}, "5", "solution"),
        ({"answer": "72 clips.\n#### 72", "solution": r"Then \boxed{73}."}, "72", "answer"),
        ({"Answer": "4"}, "4", "Answer"),
        ({"SOLUTION ": "4"}, "4", "SOLUTION "),
        ({"Answer": "3", "answer": "4"}, "4", "answer"),
        ({"answer": 0}, "0", "answer"),
        ({"answer": False}, "False", "answer"),
        ({"answer": ["12"]}, "12", "answer"),
        ({"answer": float("inf")}, r"\infty", "answer"),
        ({"reward_model": {"ground_truth": ["2"], "style": "rule"}}, "2", "reward_model"),
        ({"reward_model": '{"ground_truth": "2", "style": "rule"}'}, "2", "reward_model"),
        ({"reward_model": "{'ground_truth': '2', 'style': 'rule'}"}, "2", "reward_model"),
        ({"Reward_Model": {"ground_truth": "x+1"}}, "x+1", "Reward_Model"),
    ],
)
def test_the_answer_is_from_the_column_that_states_it_best(row, text, column):
    gold = find_gold(row)
    assert (gold.text, gold.column) == (text, column)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "?"}, "no column answer or solution or reward_model"),
        ({"answer": None}, "answer is null"),
        ({"answer": ""}, "answer is empty"),
        ({"solution": "  "}, "solution is empty"),
        ({"answer": None, "solution": ""}, "answer is null and solution is empty"),
        ({"answer": "None"}, "answer is the word None"),
        ({"answer": float("nan")}, "answer is the word nan"),
        ({"Answer": "NULL", "Solution": "n/a"}, "Answer is the word NULL and Solution is the text n/a"),
        ({"solution": r"Hence \boxed{None}."}, "solution is the word None"),
        ({"solution": "There is no such number.\n#### None"}, "solution is the word None"),
        ({"solution": "So the answer is None."}, "solution is the word None"),
        ({"answer": ["2", "3"]}, "answer is a list of 2 values"),
        ({"answer": {"value": 2}}, "answer is an object and no text"),
        ({"reward_model": {"style": "rule"}}, "reward_model has no ground_truth"),
        ({"reward_model": {"ground_truth": None}}, "reward_model has no ground_truth"),
        ({"reward_model": {"ground_truth": ""}}, "reward_model is empty"),
        ({"reward_model": {"ground_truth": {"target": 98}}}, "reward_model is an object and no text"),
        ({"reward_model": None}, "reward_model is null"),
        ({"reward_model": "2"}, "reward_model is no object with a ground_truth"),
        ({"reward_model": "{'style': 'rule'}"}, "reward_model has no ground_truth"),
    ],
)
def test_a_missing_answer_is_never_an_answer(row, reason):
    with pytest.raises(NoAnswer) as error:
        find_gold(row)
    assert str(error.value) == reason


# Prose

FINAL_ANSWERS = [
    # a box: the last one
    (r"First $\boxed{2}$, and after the next step $\boxed{3}$.", "3"),
    (r"We get $x = \boxed{\frac{1}{2}}$, which is $0.5$.", r"\frac{1}{2}"),
    (r"Therefore \[\boxed{ 12 \text{ cm} }\] holds.", r"12 \text{ cm}"),
    (r"It is \boxed{5} or, which is the same, \boxed{5}.", "5"),
    # ####, at the end
    ("Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nShe sold 72.\n#### 72", "72"),
    ("We divide.\n\n#### Answer: 1,000\n", "1,000"),
    ("It takes two hours and a half.\n##### 2.5 hours", "2.5 hours"),
    # "the answer is", the last one
    ("The answer is 72", "72"),
    ("So the answer is $3.5$. Check: 7/2 is 3.5, and 4 is more.", "$3.5$"),
    ("First the answer is 4, it seems. In the end the correct answer is: **5**.", "5"),
    ("THE FINAL ANSWER IS (B).", "(B)"),
    ("Hence, the answer is therefore\n$$x = -3.$$\nWe are done.", "$$x = -3.$$"),
    (r"We find that the answer is \(\frac{3}{4}\).", r"\(\frac{3}{4}\)"),
    ("The answer is 80 miles per hour.", "80 miles per hour"),
    ("The answer is Evelyn!", "Evelyn"),
    ("The answer is -3; the other root is 4.", "-3"),
    ("7\u00b78=56\uff0c\u6240\u4ee5\u7b54\u6848\u662f56\u3002", "56"),
]
NO_FINAL_ANSWERS = [
    "We compute $7 \\cdot 8 = 56$, which is $4$ less than 60.",
    "The train needs 3 hours for 240 km, so its speed is $240/3=80$ km per hour.",
    "There are 12 apples and 5 pears, and Tom takes 4 of them.",
    "The answer is obvious from the figure of the 3 squares.",
    "We know that the answer is 4 less than 60.",
    "Then the answer is not 5, but there are 6 of them.",
    "Is it true that the answer is 5?",
    "The answer is between 3 and 4, and we have to find it.",
    "There is no such number.\n#### null",
    "We get $x=2$ or $x=3$. The answer is obtained by adding 1 to both.",
    r"The solutions that we find are \boxed{2} and \boxed{3}.",
    r"Both values, $\boxed{2}$, $\boxed{3}$, are possible here.",
    r"We draw the \boxed{} and then we have 3 of them.",
    r"We get \boxed{5 and the box is never closed.",
    "#### Step 1: we compute 2 + 3\nIt is 5, and then we double it.\n#### Step 2: we double it\nIt is 10.",
    "a = 1 + 2\nb = a + 3\nc = 7",
    "\u6211\u4eec\u8ba1\u7b97 7\u00b78=56\uff0c\u6bd460\u5c114\u3002",
]


@pytest.mark.parametrize("column", ["solution", "answer"])
@pytest.mark.parametrize(("text", "final"), FINAL_ANSWERS)
def test_prose_counts_by_its_final_answer(column, text, final):
    gold = find_gold({column: text})
    assert (gold.text, gold.is_extracted) == (final, True)


@pytest.mark.parametrize("column", ["solution", "answer"])
@pytest.mark.parametrize("text", NO_FINAL_ANSWERS)
def test_prose_without_a_final_answer_never_counts(column, text):
    with pytest.raises(UnreadableAnswer, match=f"^{column} is prose (without a final answer|with two boxes)") as error:
        find_gold({column: text})
    assert error.value.text == text and error.value.column == column


@pytest.mark.parametrize("text", NO_FINAL_ANSWERS)
def test_a_clean_answer_wins_over_prose(text):
    assert find_gold({"solution": text, "answer": "17"}).text == "17"
    with pytest.raises(UnreadableAnswer, match=r"^answer is null and solution is prose"):
        find_gold({"solution": text, "answer": None})


@pytest.mark.parametrize("column", ["solution", "answer"])
@pytest.mark.parametrize(
    "text",
    [
        *("42", "-3", "1,001", "0.5", "3/4", "x+1", "$5$;$10$", r"\frac{1}{2}", r"$\sqrt{2}$", "[0, 1)", "x=2, y=3", "(B)"),
        *("#### 72", r"\boxed{5}", r"$\boxed{5}$.", "5 km", "80 km per hour", r"5 \text{ million}", "x = 2 or x = 3", "12:30"),
        *("Evelyn", "no solution", "yes", r"3 \text{ feet } 4 \text{ inches}", "sin(x) + cos(y)", "ab + bc + ca + abc", "\u221e"),
        *(r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"x \in \mathbb{R}", "<answer>42</answer>", "Answer: 42", "$240/3=80$"),
    ],
)  # fmt: skip
def test_a_clean_answer_stays_as_it_is_written(column, text):
    gold = find_gold({column: text})
    assert (gold.text, gold.is_extracted) == (text, False)


@pytest.mark.parametrize("text", ["all real numbers except 0", "the set of even numbers", "three apples", "It is 5."])
def test_words_are_an_answer_in_the_column_of_answers_only(text):
    assert find_gold({"answer": text}).text == text
    with pytest.raises(UnreadableAnswer):
        find_gold({"solution": text})


def test_long_prose_is_read_in_time_linear_in_its_length():
    for part in ("$", "\\(", "} ", "the answer is ", "\u7b54", "a. ", "#### ", r"\boxed{", "= \n"):
        with pytest.raises(UnreadableAnswer):
            find_gold({"solution": "We compute it and then " + part * 200_000})
