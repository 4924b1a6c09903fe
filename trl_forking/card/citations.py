"""What a card cites."""

import textwrap
from typing import Any

from ..selection.rules import SCHEDULE
from ..writing.markdown import format_block
from .trained_rule import find_trained_rule


_DAPO_CITATION = textwrap.dedent("""\
    @article{yu2025dapo,
        title        = {{DAPO: An Open-Source LLM Reinforcement Learning System at Scale}},
        author       = {Qiying Yu and Zheng Zhang and Ruofei Zhu and Yufeng Yuan and Xiaochen Zuo and Yu Yue and others},
        year         = 2025,
        eprint       = {arXiv:2503.14476},
    }""")
_TRL_CITATION = textwrap.dedent("""\
    @software{vonwerra2020trl,
        title        = {{TRL: Transformers Reinforcement Learning}},
        author       = {von Werra, Leandro and Belkada, Younes and Tunstall, Lewis and Beeching, Edward and Thrush, Tristan and Lambert, Nathan and Huang, Shengyi and Rasul, Kashif and Gallouédec, Quentin},
        license      = {Apache-2.0},
        url          = {https://github.com/huggingface/trl},
        year         = {2020},
    }""")


def cite_sources(run: dict[str, Any]) -> str:
    """
    Cite the method, the paper of the token rule, TRL and, if all of its techniques were used, DAPO.

    Args:
        run (`dict[str, Any]`):
            Facts of the run, as [`~trl_forking.card.run_record.collect_run`] collects them.

    Returns:
        `str`: blocks of BibTeX.
    """
    paper = run["method"]["paper"]
    cited = [(run["method"]["name"], paper["citation"].strip())]
    rule = find_trained_rule(run["forking"])
    if rule is not None and rule.facts.paper is not None and rule.facts.paper.arxiv != paper["id"]:
        cited.append((rule.name, rule.facts.paper.format_bibtex()))
    if rule is not None and run["forking"].get("top_entropy_quantile_end") is not None:
        cited.append(("Schedule of the share", SCHEDULE.format_bibtex()))
    if all(run["dapo"].values()):
        cited.append(("DAPO", _DAPO_CITATION))
    cited.append(("TRL", _TRL_CITATION))
    return "\n\n".join(f"{name}:\n\n{format_block(citation, 'bibtex')}" for name, citation in cited)
