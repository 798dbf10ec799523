"""OpenStack, EC2 and NoCloud metadata over HTTP, from `instance_metadata`'s documents.

    from instance_metadata import instance
    from metadata_server.app import MetadataServer
    from metadata_server.listener import Listener, Mode

    server = MetadataServer(on_request=records.append)          # an AccessRecord for each request
    server.instances.put(instance.parse(document, source="web-1"))
    address = await server.listen(Listener("unix:/run/web-1.sock", Mode.SOCKET, instance_id=uuid))
    ...
    server.instances.remove(uuid)                               # the next request is answered 404
    await server.close()

A listener has one way of knowing who asks (`Mode`); `SOCKET` with an `instance_id` is one socket for one
instance, which nobody can forge. The rules are `responder.respond(request, instance, now_s)`, pure and
tested without a socket; `app`, `endpoint`, `protocol` and `vendor_data` are the only files that know aiohttp.
"""
