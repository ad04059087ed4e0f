"""Result files in, checked and typed: scores, costs, records, and what others published."""
