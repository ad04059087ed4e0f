"""Training pairs: collected, cleaned, freed of evaluation texts, split, written."""
