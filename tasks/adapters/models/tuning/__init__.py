"""Tuning VideoLLaMA3 on labels, in a process of its own."""
