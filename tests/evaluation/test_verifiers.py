"""The verifier of mathematical answers: what it reads, which answers vote, and which are equal."""

from trl_forking.evaluation.verifiers import MathVerifier, count_votes


VERIFIER = MathVerifier()


def judge(completion, solution="0.5"):
    return VERIFIER.judge({"solution": solution}, completion)


def test_right_wrong_and_unreadable():
    assert judge(r"First \boxed{3}, no: \boxed{\frac12}.") == (True, r"\frac12", True)
    assert judge(r"\boxed{0.51}") == (False, "0.51", True)
    assert judge("It is 0.5.") == (False, None, False)
    assert judge(r"\boxed{}") == (False, "", False)
    assert judge(r"\boxed{" + "(" * 50 + ")" * 50 + "}")[2] is False


def test_votes_are_counted_by_equality_and_not_by_text():
    texts = [r"\boxed{0.5}", r"\boxed{\frac{1}{2}}", r"\boxed{2}", "nothing", r"\boxed{2.0}", r"\boxed{}"]
    assert count_votes([judge(text) for text in texts], VERIFIER) == [0, 0, 1, None, 1, None]


def test_which_problems_can_be_judged():
    assert VERIFIER.can_judge({"solution": r"\frac{1}{2}"}) and VERIFIER.can_judge({"solution": 4})
    assert not VERIFIER.can_judge({"solution": None}) and not VERIFIER.can_judge({"solution": ""})
    assert not VERIFIER.can_judge({})
