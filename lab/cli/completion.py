"""`trustlab completion`: what a shell needs to complete the command line."""

import sys
from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print a shell's completion script, made from the commands as they are.

    bash: trustlab completion bash > ~/.local/share/bash-completion/completions/trustlab

    Parameters
    ----------
    shell:
        The shell it is for.
    """
    from lab.cli.main import app  # noqa: PLC0415  main loads its commands only when they are used

    sys.stdout.write(app.generate_completion(shell=shell))
    return 0
