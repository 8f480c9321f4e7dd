"""Ways in: one module per door; they know HTTP and websocket, the service below, and not each other."""
