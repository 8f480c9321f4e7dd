"""The description of the HTTP doors (OpenAPI 3.1): one module per door's routes, and one that joins them."""
