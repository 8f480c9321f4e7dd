"""Who may run what; the only makers of a Grant."""
