"""What keeps a run whole: files, locks, seals, signals, secrets, GPUs, and the job that a rule runs."""
