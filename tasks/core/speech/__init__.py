"""What is heard in a video: where somebody speaks, what is said, and where a cut breaks no sentence."""
