"""The papers' claims, held against the numbers."""
