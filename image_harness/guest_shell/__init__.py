"""Commands into a guest that is up, over the port on which its agent reported.

`protocol` is what is said, `overlay` puts the program that answers (`serve`) into a copy of an image.
"""
