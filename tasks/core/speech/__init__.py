"""What is heard in a video: where somebody speaks, and what is said."""
