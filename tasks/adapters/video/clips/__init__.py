"""Clips: a stretch of a video as a file of its own, for phones and for people."""
