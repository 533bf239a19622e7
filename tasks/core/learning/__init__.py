"""How good the fast score's choice was, and how to make a better one. NumPy alone."""
