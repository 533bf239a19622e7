"""What a video file holds: the clocks of its streams."""
