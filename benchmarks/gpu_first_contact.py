"""The first minutes on a GPU: what was expected of it beside what is found, up to the first surprise.

    python benchmarks/gpu_first_contact.py                 # on a GPU: true sizes, random weights, minutes
    python benchmarks/gpu_first_contact.py --rehearse      # anywhere: tiny sizes, times are not judged

Needs of Hookline's dependencies only PyTorch, transformers, tokenizers, safetensors, pydantic, numpy, Pillow,
psutil and llguidance; pebble for the checks of workers, bitsandbytes for quantization, onnxruntime and
silero-vad for speech. Where Hookline is not installed, set PYTHONPATH to this repository. Writes
benchmarks/results/gpu_first_contact_<device>.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from first_contact_lab import Lab, Line

RESULTS = Path(__file__).parent / "results"

NEXT = (
    "python benchmarks/deep_stage.py --full-size --repeats 1",
    "python benchmarks/speed.py fast",
    "python -m pytest tests/adapters/models",
    "hookline doctor",
)


def checks() -> tuple[Callable[[Lab], list[Line]], ...]:
    """In order: what later ones build on comes first."""
    import first_contact_hearing as hearing
    import first_contact_kernels as kernels
    import first_contact_models as models

    return (
        models.versions,
        models.gpus,
        kernels.attention_of_steps,
        kernels.attention_of_frames,
        kernels.patches,
        models.windows,
        kernels.prompt,
        kernels.steps,
        models.layers,
        models.captured,
        models.memory,
        models.out_of_memory,
        hearing.whisper,
        hearing.speech,
        models.lost_gpu,
        models.quantized,
    )


def run(lab: Lab) -> list[Line]:
    """Every check in order, its lines printed; the last one is the first that was not expected."""
    from first_contact_lab import Line

    done: list[Line] = []
    for check in checks():
        began = time.perf_counter()
        try:
            lines = check(lab)
        except ModuleNotFoundError as error:
            lines = [Line("all of it", "", f"not tried: {error}", None)]
        except Exception as error:
            lines = [Line("all of it", "no error", f"{type(error).__name__}: {error}"[:500], False)]
        title = (check.__doc__ or "").strip().partition("\n")[0]
        print(f"\n{title} ({time.perf_counter() - began:.1f} s)", flush=True)
        for line in lines:
            print(line.text, flush=True)
            done.append(line)
            if line.expected_found is False:
                return done
    return done


def main() -> int:
    """Check, print, write; 1 if there was a surprise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, on a CPU if need be")
    parser.add_argument("--output", type=Path, help="where the findings go, as JSON")
    options = parser.parse_args()
    # Here, because worker processes import this file as well.
    import torch
    from deep_stage_report import machine, provenance
    from first_contact_lab import Lab

    from tasks.adapters.models.devices import pick_device
    from tasks.core.errors import ModelError

    try:
        device = pick_device("cpu" if options.rehearse and not torch.cuda.is_available() else "cuda")
    except ModelError as error:
        parser.error(f"{error} Without a GPU there is --rehearse.")
    with tempfile.TemporaryDirectory() as folder:
        lines = run(Lab(device, Path(folder), rehearsed=options.rehearse))
    surprise = lines[-1].expected_found is False
    print("\nStopped at the first surprise." if surprise else "\nAs expected. Next:")
    if not surprise:
        print("\n".join(f"  {command}" for command in NEXT))
    report = {
        **provenance(["python", "benchmarks/gpu_first_contact.py", *sys.argv[1:]]),
        "machine": machine(),
        "surprise": surprise,
        "lines": [asdict(line) for line in lines],
    }
    short = machine()["short"]
    output = options.output or (None if options.rehearse else RESULTS / f"gpu_first_contact_{short}.json")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(surprise)


if __name__ == "__main__":
    sys.exit(main())
