"""Compute drivers: what starts, stops and watches a guest."""
