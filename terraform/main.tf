# A cluster for OpenClaw gateways on EKS: its network (vpc.tf), the cluster with its nodes and add-ons
# (eks.tf), its roles (iam.tf), who reaches its API from inside (security-groups.tf).
# docs/terraform.md says how to use this by hand; the gateways are in k8s/.
#
# Gateways keep their data on EBS volumes, which the cluster's own driver makes: they are in no state
# of Terraform's, and outlive what is here. So do the load balancers that gateways ask for: remove the
# gateways first, or their network interfaces keep the network from going.

provider "aws" {
  region = var.region
  # Long enough for throttling to pass.
  max_retries = 7
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

# Who a session of a role is: the role.
data "aws_iam_session_context" "current" {
  arn = data.aws_caller_identity.current.arn
}

locals {
  hash          = substr(sha256(join("/", [data.aws_caller_identity.current.account_id, var.region, var.name])), 0, 8)
  suffix        = var.suffix != "" ? var.suffix : local.hash
  resource_name = "openclaw-${var.name}-${local.suffix}"

  tags = {
    "Name"                           = local.resource_name
    "openclaw-pipeline:installation" = var.installation
    "openclaw-pipeline:deployment"   = coalesce(var.deployment, var.name)
    "openclaw-pipeline:name"         = var.name
    "openclaw-pipeline:operation"    = var.operation
  }
}
