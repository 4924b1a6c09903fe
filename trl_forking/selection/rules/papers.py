"""The papers that the built-in rules come from. This module imports nothing."""

from typing import NamedTuple


class Paper(NamedTuple):
    """
    Where a rule comes from.

    Attributes:
        key (`str`): key of the BibTeX entry.
        title (`str`): title.
        authors (`str`): authors as BibTeX writes them; empty if they are not known.
        year (`int`): year.
        arxiv (`str`): number of the paper on arXiv; empty if it is not there.
        url (`str`): address; empty if it is that of arXiv.

    Example:
    ```python
    >>> print(Paper("doe2026tokens", "Tokens", "Jane Doe", 2026, "2601.00001").format_bibtex())
    @misc{doe2026tokens,
        title  = {{Tokens}},
        author = {Jane Doe},
        year   = 2026,
        eprint = {arXiv:2601.00001},
    }
    ```
    """

    key: str
    title: str
    authors: str
    year: int
    arxiv: str = ""
    url: str = ""

    @property
    def link(self) -> str:
        """Address of the paper."""
        return self.url or f"https://huggingface.co/papers/{self.arxiv}"

    def format_bibtex(self) -> str:
        """Return the entry for a bibliography."""
        entries = {"title": f"{{{{{self.title}}}}}", "author": f"{{{self.authors}}}", "year": str(self.year)}
        entries["eprint" if self.arxiv else "url"] = f"{{arXiv:{self.arxiv}}}" if self.arxiv else f"{{{self.url}}}"
        lines = [f"    {name:6s} = {value}," for name, value in entries.items() if value != "{}"]
        return "\n".join([f"@misc{{{self.key},", *lines, "}"])


BEYOND_80_20 = Paper(
    "wang2025beyond",
    "Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement Learning for LLM Reasoning",
    "Shenzhi Wang and others",
    2025,
    "2506.01939",
)
NAT = Paper(
    "sang2026nat",
    "Not all tokens are needed (NAT): token efficient reinforcement learning",
    "Hejian Sang and Yuanda Xu and Zhengze Zhou and Ran He and Zhipeng Wang",
    2026,
    "2603.06619",
)
GMTS = Paper(
    "gmts2025",
    "GMTS: Gradient Magnitude-based Token Selection",
    "",
    2025,
    url="https://openreview.net/forum?id=JGvOicAo3g",
)
D3S = Paper(
    "d3s2025",
    "Learning More with Less: A Dynamic Dual-Level Down-Sampling Framework for Efficient Policy Optimization",
    "",
    2025,
    "2509.22115",
)
CLIP_COV = Paper(
    "cui2025entropy",
    "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models",
    "Ganqu Cui and others",
    2025,
    "2505.22617",
)
RSI = Paper(
    "lv2026which",
    "Which Tokens Matter? Adaptive Token Selection for RLVR with the Relative Surprisal Index",
    "Outongyi Lv and Yanzhao Zheng and Yuanwei Zhang and Zhenghao Huang and Xingjun Wang and Baohua Dong and Hangcheng Zhu and "
    "Yingda Chen",
    2026,
    "2606.31575",
)
STAPO = Paper(
    "liu2026stapo",
    "STAPO: Stabilizing Reinforcement Learning for LLMs by Silencing Rare Spurious Tokens",
    "Shiqi Liu and Zeyu He and Guojian Zhan and Letian Tao and Zhilong Zheng and Jiang Wu and Yinuo Wang and Yang Guan and Kehua "
    "Sheng and Bo Zhang and Keqiang Li and Jingliang Duan and Shengbo Eben Li",
    2026,
    "2602.15620",
)
HAPO = Paper(
    "liu2025uniform",
    "From Uniform to Heterogeneous: Tailoring Policy Optimization to Every Token's Nature",
    "Zheng Liu and Mengjie Liu and Siwei Wen and Mengzhang Cai and Bin Cui and Conghui He and Wentao Zhang",
    2025,
    "2509.16591",
)
ARCHER = Paper(
    "wang2025archer",
    "Stabilizing Knowledge, Promoting Reasoning: Dual-Token Constraints for RLVR",
    "Jiakang Wang and Runze Liu and Fuzheng Zhang and Xiu Li and Guorui Zhou",
    2025,
    "2507.15778",
)
SCHEDULE = Paper(
    "zhang2026when",
    "Not only where, But when: Temporal Scheduling for RLVR",
    "Jinghao Zhang and Ruilin Li and Feng Zhao and Jiaqi Wang",
    2026,
    "2605.25381",
)
