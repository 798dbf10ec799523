"""OpenStack and EC2 metadata over HTTP, session tokens, vendor data."""
