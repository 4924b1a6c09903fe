"""How a comparison of models is told: names and a sentence."""

import numpy as np

from trl_forking.analysis.comparison import build_comparison
from trl_forking.analysis.comparison_page import describe_comparison, name_models


def test_models_are_named_by_what_tells_them_apart():
    assert name_models(["base", "run/checkpoint-1"]) == ["base", "checkpoint-1"]
    assert name_models(["a/x/model", "b/x/model"]) == ["a/x/model", "b/x/model"]
    assert len(set(name_models(["model", "x/model"]))) == 2


def test_a_comparison_of_empty_answers_says_so():
    comparison = build_comparison([np.zeros(0)], {"step 10": [np.zeros(0)]})
    assert describe_comparison(comparison) == "No answer has a token, so there is nothing to compare."
