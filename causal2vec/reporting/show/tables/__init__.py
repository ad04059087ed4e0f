"""What each table shows: its layout as data, and one builder per kind."""
