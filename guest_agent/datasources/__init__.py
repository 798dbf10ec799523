"""The datasources, one file each."""
