"""One module per measurement, each with `measure(systems, scale, samples)`, which alternates the systems in rounds."""
