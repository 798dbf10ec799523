"""The config modules, one file each, named as in cloud.cfg."""
