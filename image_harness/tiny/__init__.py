"""The tiny guest: Debian's kernel and, in one initramfs, busybox, Python and the agent.

`recipe` says which packages and files; `base` builds all that does not change with the agent; `agent` packs
the agent as it stands in this tree; `build` puts both together in the image store. `root/` holds the guest's
own files.
"""
