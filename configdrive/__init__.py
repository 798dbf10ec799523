"""Config drives: `builder` writes images on the host, `reader` reads a mounted drive in a guest."""
