"""What runs inside of the helper guest, on the tiny guest's Python 3.11: the host never imports these.

`main` reads the order, `mounts` finds the image's root, `bake` and `offline` change it.
"""
