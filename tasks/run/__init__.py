"""What belongs to one run, whatever the step."""
