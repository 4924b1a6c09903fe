"""Says at the end of a test run what was skipped, and what to install for it."""

import re
from collections import Counter


_TEST_EXTRA = 'pip install -c constraints.txt -e ".[test]"'
# By a word of the reason. A reason that is not here, such as another platform, has no remedy.
REMEDIES = {
    "chromium": "apt-get install chromium chromium-driver",
    "vllm": 'pip install -e ".[vllm]"',
    "reasoning-gym": "pip install -c constraints.txt reasoning-gym",
    "font": "apt-get install fonts-noto-core fonts-noto-cjk",
    **dict.fromkeys(
        (
            "bitsandbytes",
            "deepspeed",
            "ipykernel",
            "math_verify",
            "nbclient",
            "peft",
            "selenium",
            "tensorboard",
            "trackio",
            "wandb",
        ),
        _TEST_EXTRA,
    ),
}


def describe_skipped(reasons: list[str]) -> list[str]:
    """Return one line for each reason: how many tests it skipped, and the command after which they run."""
    lines: Counter[str] = Counter()
    for reason in reasons:
        reason = reason.removeprefix("Skipped: ")
        remedies = [
            remedy for word, remedy in REMEDIES.items() if re.search(rf"\b{word}", reason, flags=re.IGNORECASE)
        ]
        says_how = "install " in reason or not remedies
        lines[reason if says_how else f"{reason}. To run them: {remedies[0]}"] += 1
    return [f"{count} test{'s'[: count != 1]} skipped: {line}" for line, count in lines.most_common()]
