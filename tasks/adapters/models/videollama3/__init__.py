"""VideoLLaMA3 through transformers: checkpoints, frames, prompts, answers."""
