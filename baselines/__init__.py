"""The rivals, one file each. Every one reads like the paper it comes from."""
