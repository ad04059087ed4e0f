"""What a study will cost before it is started: tokens, FLOPs, memory, hours, disk; see docs/plan.md.

Importing this package imports neither torch nor transformers nor mteb.
"""
