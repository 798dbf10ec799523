"""When what happened in a boot: firmware, kernel, units, stages, modules, requests, on one axis.

`evidence` asks a guest and reads its answers, `stock` does so where cloud-init is not ours, `console` reads
the serial console, `spans` puts all of it on the host's clock, `picture` draws it. What comes from a guest is
not trusted: names are cut, numbers checked, counts bounded.
"""
