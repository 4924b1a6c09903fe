"""What is known of the built-in rules stands apart from their functions, so that it can be read without torch."""

import pytest

from trl_forking.selection.rules import FACTS, RULES, check_rule_name


def test_every_fact_has_its_rule_and_every_rule_its_facts():
    assert list(FACTS) == list(RULES)
    for name, rule in RULES.items():
        assert rule.name == name and rule.facts is FACTS[name] and rule.function.__name__ == name


def test_a_name_is_known_or_an_import_path_or_refused():
    for name in [*FACTS, "my_rules.keep_verbs", "my_rules:keep_verbs"]:
        check_rule_name(name)
    with pytest.raises(ValueError, match="'gradient_nrom' is not a rule: did you mean 'gradient_norm'"):
        check_rule_name("gradient_nrom")
    with pytest.raises(ValueError, match="set one of high_entropy, low_entropy"):
        check_rule_name("zzz")
