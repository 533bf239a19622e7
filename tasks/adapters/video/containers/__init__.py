"""What a video file holds: the recordings in it, and the clocks of its streams."""
