// Where the Gateway API's own definitions come from: no program is built of it.
module openclaw-pipeline/tests/lab/kubernetes/gateway-api

go 1.26.0

require sigs.k8s.io/gateway-api v1.6.3
