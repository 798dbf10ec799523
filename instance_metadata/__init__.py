"""What an instance is, and which metadata document exists since when. Pure: no input, no output.

    from datetime import date
    from instance_metadata import documents, instance, nocloud

    uuid = "8f0a3c1e-5d27-4b43-9c55-2f6f2f5d9b10"
    web_1 = instance.parse({"uuid": uuid, "hostname": "web-1"}, source="web-1")
    drive = documents.tree(web_1, random_seed=os.urandom(512), today=date(2026, 1, 1))   # path -> bytes
    seed = nocloud.tree(web_1)                                                           # name -> bytes

`instance.parse` takes plain values, `instance.read` the bytes of a YAML or JSON file; both raise
`errors.InvalidInstance` with every fault of the document. Randomness, today's date and replies of dynamic
vendor data are arguments.
"""
