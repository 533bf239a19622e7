"""Weights and small files of the demo's models: the same bytes every time."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn


def fill(model: nn.Module) -> None:
    """Give every weight a value that depends on its name and shape alone."""
    for name, parameter in model.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        with torch.no_grad():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15 * _gain(name), generator=generator)
            else:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)


def _gain(name: str) -> float:
    """Wider weights where attention of ordinary width would average all frames of all videos away."""
    if "language_model" in name and "self_attn" in name:
        return 3.0 if ".q_proj." in name or ".k_proj." in name else 2.0
    return 1.0


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write one of a checkpoint's JSON files."""
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
