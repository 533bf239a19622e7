"""Threads share heaps: what one of them held is there for the others."""

import platform
import subprocess
import sys

import pytest

HEAPS_OF_32_THREADS = """
import ctypes, sys, tempfile, threading
from tasks.adapters.models.malloc import limit_malloc_arenas

if sys.argv[1] == "shared":
    limit_malloc_arenas()
all_there = threading.Barrier(32)

def work():
    held = [bytes(20_000) for _ in range(20)]
    all_there.wait()

threads = [threading.Thread(target=work) for _ in range(32)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
c = ctypes.CDLL(None)
c.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile("r") as said:
    file = ctypes.c_void_p(c.fopen(said.name.encode(), b"w"))
    c.malloc_info(0, file)
    c.fclose(file)
    print(said.read().count("<heap nr="))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps a heap a thread")
def test_threads_share_two_heaps_instead_of_having_their_own() -> None:
    heaps = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", HEAPS_OF_32_THREADS, how], check=True, capture_output=True
            ).stdout
        )
        for how in ("shared", "own")
    }
    assert heaps["shared"] == 2 < heaps["own"]
