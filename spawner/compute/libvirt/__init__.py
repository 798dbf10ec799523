"""Guests under libvirt: `domain` (pure) says what a guest is in libvirt's XML, `connection` speaks to the
daemon, `cable` joins a guest to its network, `node` is the compute node that puts them together."""
