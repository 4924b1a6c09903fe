"""What the task files of this folder call: the verifier of trl-forking, for all answers to a problem."""

from typing import Any

from trl_forking.evaluation import compute_average, compute_majority_at_k, compute_pass_at_k
from trl_forking.evaluation.verifiers import MathVerifier, count_votes


VERIFIER = MathVerifier()


def find_solution(doc: dict[str, Any]) -> str:
    """Find the right answer of a row: a text or number, or the list of OlympiadBench."""
    answer = next(doc[name] for name in ("answer", "final_answer", "Answer") if doc.get(name) is not None)
    return ", ".join(map(str, answer)) if isinstance(answer, list) else str(answer)


def process_results(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Judge the answers to one problem. With the filter `take_first_k` they come as one list."""
    answers = results[0] if isinstance(results[0], list) else results
    verdicts = [VERIFIER.judge({"solution": find_solution(doc)}, answer) for answer in answers]
    is_right, number = [verdict.is_right for verdict in verdicts], len(verdicts)
    return {
        "avg_at_n": compute_average(list(map(float, is_right))),
        "pass_at_n": compute_pass_at_k(number, sum(is_right), number),
        "maj_at_n": compute_majority_at_k(count_votes(verdicts, VERIFIER), is_right, number),
    }
