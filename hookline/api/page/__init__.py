"""The page at `/`: a video is named, its job is watched, and its ranking is shown."""
