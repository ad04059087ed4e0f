"""Answers to tables, figures and one page."""
