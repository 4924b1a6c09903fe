"""Which version of the user's code a run is of: the commit of the working directory, and whether it was changed."""

import subprocess
from functools import lru_cache


_SECONDS = 10  # a repository on a slow disk must not hold up a run for longer


@lru_cache
def find_code_version(folder: str = ".") -> str | None:
    """
    Find the commit that is checked out in a folder.

    Args:
        folder (`str`, *optional*, defaults to `"."`):
            Folder in a git repository.

    Returns:
        `str` or `None`: the commit, and whether tracked files were changed; `None` where there is no repository or no git.

    Example:
    ```python
    >>> from trl_forking.run.code_version import find_code_version
    >>> find_code_version("no-such-folder") is None
    True
    ```
    """
    commit = _run_git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _run_git(folder, "status", "--porcelain", "--untracked-files=no")
    state = "not known whether it was changed" if changes is None else "with changes" if changes else "clean"
    return f"{commit} ({state})"


def _run_git(folder: str, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
