"""The peers' end of the pipe, see `embodied.bench.peers`: questions come in on stdin, answers go out on stdout."""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def cpu_seconds() -> float:
    """Of this process, all threads, since its start [s]."""
    return time.process_time()


def serve(**verbs: Callable[..., Any]) -> None:
    """Answer each line `{"verb": ..., more words}` with `{"answer": ...}` or `{"error": ...}`, until there are no more.

    What the peers print goes to stderr, so that nothing but answers is in the pipe.
    """
    verbs["cpu_seconds"] = cpu_seconds
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            words = json.loads(line)
            try:
                answer = {"answer": verbs[words.pop("verb")](**words)}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
