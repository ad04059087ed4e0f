"""Numbers to answers: statistics, comparisons, savings, and verdicts on claims; no formatting."""
