"""Pre-trained weights in, model folders out: prepared, checked, built, saved, opened."""
