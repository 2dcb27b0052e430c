"""A Kubernetes cluster of one node, of real programs."""
