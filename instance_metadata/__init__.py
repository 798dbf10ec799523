"""What an instance is, and which metadata document exists since when. Pure: no input, no output."""
