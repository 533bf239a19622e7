"""The process that tunes: `python -m tasks.adapters.models.tuning.child JOB`, one for each GPU.

Progress goes to its standard output, line by line; why it failed to the file `REASON` beside the job. Of
several processes the first to fail says it: the others fail for its sake.
"""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress
from pathlib import Path

from tasks.adapters.workers.parent import end_with_parent
from tasks.core.errors import HooklineError


def main(job: Path) -> int:
    """Do the job that is pickled in this file; the exit code."""
    end_with_parent(os.getppid(), lambda: os._exit(1))
    from tasks.adapters.models.gpu_errors import is_out_of_memory
    from tasks.adapters.models.tuning.lessons import REASON
    from tasks.adapters.models.tuning.loop import tune

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        tune(pickle.loads(job.read_bytes()), say)
    except Exception as error:
        why = str(error) if isinstance(error, HooklineError) else f"{type(error).__name__}: {error}"
        if is_out_of_memory(error):
            why = f"The memory of the device is too small to tune this model ({error})"
        with suppress(FileExistsError), job.with_name(REASON).open("x", encoding="utf-8") as reason:
            reason.write(" ".join(why.split()))
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
