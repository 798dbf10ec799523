"""Nova's own WSGI application of the metadata service, for uwsgi, with one constant in place of Neutron.

Run by the Python of Nova's environment. Paste pipeline, signatures, oslo.cache, databases and objects are
Nova's, unchanged. Its security groups come from Neutron over HTTP on each cache miss; here they are a
constant, which favours Nova.
"""
# mypy: ignore-errors

import sys

# Nova reads the command line when it is imported; uwsgi's options are not for it.
sys.argv = sys.argv[:1]

from nova import monkey_patch  # noqa: E402

monkey_patch.patch(backend="threading")

from nova.network import security_group_api  # noqa: E402


def security_groups(_context, _instance, detailed=False):  # noqa: ARG001
    return [{"name": "default"}]


security_group_api.get_instance_security_groups = security_groups

from nova.wsgi.metadata import application  # noqa: E402, F401
