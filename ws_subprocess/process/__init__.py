"""Starting, watching and ending children; the only place that does."""
