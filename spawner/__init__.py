"""A request for a server to a running guest: API, scheduler, placement, conductor, compute, store."""
