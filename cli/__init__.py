"""Commands: one file each, and the only wiring."""
