"""Amazon Lightsail, as far as instances go.

Owns instances, static addresses, ports, key pairs, tags and operations, as
botocore's model of the service describes them. Refuses what the real one refuses
of these, and every action that it does not know.
"""
