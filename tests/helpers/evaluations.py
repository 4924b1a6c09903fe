"""Engines and verifiers that a test controls, for evaluations without a real model."""

from trl_forking.decoding.sampling import SamplingSettings
from trl_forking.evaluation.problem_sets import LoadedProblems
from trl_forking.evaluation.records import JudgedAnswer
from trl_forking.evaluation.results import EvaluatedSet
from trl_forking.evaluation.summary import summarize_answers
from trl_forking.evaluation.verifiers import Verdict


class CharacterTokenizer:
    """A character is a token; token 0 ends an answer and is a special token."""

    chat_template = None

    def __call__(self, text):
        return {"input_ids": [ord(character) for character in text]}

    def decode(self, ids, skip_special_tokens=True):
        return "".join(chr(token) for token in ids if token)


class ScriptedEngine:
    """Answers each prompt with given texts. It can fail at its n-th call, as an engine that dies does."""

    def __init__(self, answers, num_generations=2, max_completion_length=50, fails_at=None, error=None):
        self.tokenizer, self.eos_token_ids = CharacterTokenizer(), [0]
        self.settings = SamplingSettings(num_generations, max_completion_length)
        self.description = {"engine": "scripted"}
        self.answers, self.fails_at, self.error = answers, fails_at, error or RuntimeError("the engine died")
        self.calls = []

    def sample(self, prompt_ids, seed, on_answers):
        self.calls.append(([self.tokenizer.decode(ids) for ids in prompt_ids], seed))
        if self.fails_at == len(self.calls):
            raise self.error
        texts = [self.answers(self.tokenizer.decode(ids)) for ids in prompt_ids]
        limit = self.settings.max_completion_length
        drawn = [[([*map(ord, text), 0])[:limit] for text in group] for group in texts]
        on_answers(sum(map(len, drawn)))
        return drawn


class ExactVerifier:
    """The last word is the final answer; equal numbers are equal, and `?` cannot be read."""

    name = "exact"

    def can_judge(self, row):
        return row["solution"] != "unreadable"

    def judge(self, row, completion):
        words = completion.split()
        read = words[-1] if words else None
        return Verdict(read == row["solution"], read, read not in (None, "?"))

    def are_equal(self, first, second):
        return float(first) == float(second)


def make_rows(number):
    return [{"key": f"key {i}", "prompt": f"What is {i}?" + "!" * i, "solution": str(i)} for i in range(number)]


def make_answer(**changes):
    values = {
        "problem_index": 0, "key": "a", "answer_index": 0, "prompt": "1 + 1?", "solution": "2", "completion": "It is 2",
        "num_tokens": 5, "is_truncated": False, "is_right": True, "read": "2", "vote": 0,
    }  # fmt: skip
    return JudgedAnswer(**(values | changes))


def make_set(answers, name="easy", dataset=None, **others):
    from trl_forking.evaluation.records import group_by_problem

    problems = LoadedProblems(
        name, name.capitalize(), [], ["1 problem is left out."], dataset=dataset, revision="0a1b"
    )
    settings = {"model": "tiny", "temperature": 1.0, "top_p": 1.0, "max_completion_length": 50, "num_shards": 1}
    return EvaluatedSet(problems, answers, summarize_answers(group_by_problem(answers)), settings, **others)
