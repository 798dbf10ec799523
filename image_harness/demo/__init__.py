"""The demo's instance: what is asked for (`user-data.yaml`), and what the guest must have afterwards."""
