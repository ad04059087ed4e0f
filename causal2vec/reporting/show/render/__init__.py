"""One table, four texts: Markdown, CSV, LaTeX, HTML."""
