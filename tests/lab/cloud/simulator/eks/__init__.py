"""Amazon EKS, as far as a cluster, its nodes, its add-ons and who may use it go.

Owns what botocore's model of the service describes of these. Refuses what the real one refuses of
them, and every action that it does not know. There is nothing behind a cluster of its own: where a
test gives the lab's real one (see `control.py`), that is what its endpoint names.
"""
