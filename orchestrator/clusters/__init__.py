"""Making and reaching a cluster: the bundle that is sent, Ray's jobs, Kubernetes."""
