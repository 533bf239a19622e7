"""The peak memory of a command: `python peak.py FILE COMMAND...` writes it to FILE, in bytes.

That of the largest of its processes. What a process holds while it becomes another program counts as the
other's: so this small one starts the command, not the benchmark.
"""

import resource
import subprocess
import sys
from pathlib import Path

subprocess.run(sys.argv[2:], check=True)
Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
