"""What each method costs: tokens, time and memory, on the same texts and the same machine."""
