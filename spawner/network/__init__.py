"""Network backends: how a guest reaches 169.254.169.254.

Each gives, for one instance's metadata socket, an `Attachment`: what QEMU and its launcher must be told.
Identity is the socket, so no guest can claim to be another. `choose.probe()` takes the best that works here
without a network of its own and says why.

    namespace   a namespace with the address on lo and a relay in it      namespace.py, relay.py, loopback.py
    guestfwd    QEMU starts a relay for each connection; needs nothing    guestfwd.py, relay.py
    bridge      guests on one Ethernet, no forged frames; needs root      bridge.py, bridge_relay.py, relay.py
"""
