"""Settings: what they are (`settings`), where they come from (`load`), and how each is read (`kinds`, `parse`)."""
