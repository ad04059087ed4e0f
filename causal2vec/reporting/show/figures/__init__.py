"""The figures, and how they look."""
