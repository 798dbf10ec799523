"""Debian with systemd on a disk: bootstrapped from packages, the agent with its units put in without booting.

`recipe` says which packages and settings; `base` bootstraps a release into a file system; `build` adds the
agent. `root/` holds what is this image's own; units and settings are the agent's.
"""
