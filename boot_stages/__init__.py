"""The boot stages, their config modules, and the one place that changes a guest."""
