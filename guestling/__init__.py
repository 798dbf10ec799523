"""The command line of guestling: reads arguments, calls one function, prints."""
