"""The sound of a video: on the video's own clock, how loud it is, and where somebody speaks."""
