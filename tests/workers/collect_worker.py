"""Collects answers and kills itself before it has all of them.

Run: python tests/workers/collect_worker.py FOLDER
"""

import os
import signal
import sys

from helpers.collections_of_answers import count_words, run


def verify_and_die(row, completion):
    if row["number"] == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return count_words(row, completion)


verify_and_die.__qualname__ = "count_words"
run(sys.argv[1], temperature=0.8, top_alternatives=2, hes=True, verifier=verify_and_die)
