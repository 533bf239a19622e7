"""Whisper: which words are said, and when."""
