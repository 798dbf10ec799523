"""Build, bake and seal images, boot them, and report."""
