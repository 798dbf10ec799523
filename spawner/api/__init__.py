"""The OpenStack APIs over the spawner, one file a service: Keystone, Nova, Glance, Neutron, Placement.

One listener serves them all under /identity, /compute, /image, /network and /placement.
Source: openstack-api.md and the published API references.
"""
