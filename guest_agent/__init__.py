"""The guest agent: find the source, read it, merge user data, run the stages, report."""
