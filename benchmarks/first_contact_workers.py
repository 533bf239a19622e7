"""What worker processes are asked on first contact. PyTorch, which takes seconds, is for GPUs alone."""

from __future__ import annotations

from tasks.core.errors import GpuLost


def which_gpu(kind: str) -> str:
    """The card of this process; `kind` is that of the device: cuda or cpu."""
    if kind == "cpu":
        return "cpu"
    import torch

    from tasks.adapters.models.devices import pick_device

    card = torch.cuda.get_device_properties(pick_device(kind))
    return f"{card.name} {card.uuid}"


def lose_gpu(kind: str) -> object:
    """Read beyond the end of a tensor, which breaks the GPU for this process. Without one: only say so.

    Raises:
        GpuLost: it is broken.
    """
    if kind == "cpu":
        raise GpuLost("This is a rehearsal.")
    import torch

    from tasks.adapters.models.devices import on_model_thread

    values, beyond = torch.zeros(1, device=kind), torch.tensor([5], device=kind)
    return on_model_thread(lambda: values[beyond].item())
