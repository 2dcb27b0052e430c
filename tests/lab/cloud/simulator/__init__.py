"""The lab's cloud: AWS's API on loopback, whose instances are containers.

Owns everything from the API to the machine behind a public address. Refuses to
be reached from elsewhere than this machine, and to outlive whoever started it.
"""
