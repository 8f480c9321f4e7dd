"""Measures the daemon beside its peers and beside what the kernel allows; see README.md."""
