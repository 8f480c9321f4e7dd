"""What outlives the daemon; the only place that speaks SQL."""
