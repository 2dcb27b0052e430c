# The cluster, its nodes and its add-ons.

resource "aws_kms_key" "secrets" {
  description             = "The secrets of the cluster ${local.resource_name}"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  tags                    = local.tags

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

# Made here, so that it ends with the cluster, and its lines after a month.
resource "aws_cloudwatch_log_group" "cluster" {
  name              = "/aws/eks/${local.resource_name}/cluster"
  retention_in_days = 30
  tags              = local.tags

  lifecycle {
    ignore_changes = [name, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_eks_cluster" "gateways" {
  name     = local.resource_name
  version  = var.kubernetes_version
  role_arn = aws_iam_role.cluster.arn
  tags     = local.tags

  enabled_cluster_log_types = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
  # All of them are add-ons, below.
  bootstrap_self_managed_addons = false

  # Who may do what stands in access entries, and nowhere in the cluster.
  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = false
  }

  vpc_config {
    subnet_ids              = [for it in aws_subnet.private : it.id]
    security_group_ids      = [aws_security_group.api.id]
    endpoint_private_access = true
    endpoint_public_access  = length(var.api_cidrs) > 0
    public_access_cidrs     = length(var.api_cidrs) > 0 ? var.api_cidrs : null
  }

  encryption_config {
    resources = ["secrets"]

    provider {
      key_arn = aws_kms_key.secrets.arn
    }
  }

  # At the end of a version's standard support AWS goes on to the next one, in the place of asking six
  # times the price for the old one.
  upgrade_policy {
    support_type = "STANDARD"
  }

  depends_on = [
    aws_cloudwatch_log_group.cluster,
    aws_iam_role_policy_attachment.cluster,
  ]

  lifecycle {
    # Each of these replaces the cluster, and what runs on it goes with it.
    ignore_changes = [
      name,
      role_arn,
      bootstrap_self_managed_addons,
      access_config[0].bootstrap_cluster_creator_admin_permissions,
      encryption_config,
      tags["openclaw-pipeline:operation"],
    ]
  }
}

# Whoever applies this administers the cluster, and whoever else is named.
locals {
  admins = toset(concat([data.aws_iam_session_context.current.issuer_arn], var.admin_arns))
}

resource "aws_eks_access_entry" "admin" {
  for_each = local.admins

  cluster_name  = aws_eks_cluster.gateways.name
  principal_arn = each.value
  tags          = local.tags

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_eks_access_policy_association" "admin" {
  for_each = aws_eks_access_entry.admin

  cluster_name  = each.value.cluster_name
  principal_arn = each.value.principal_arn
  policy_arn    = "arn:${data.aws_partition.current.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

  access_scope {
    type = "cluster"
  }
}

# --------------------------------------------------------------------------------- the nodes

data "aws_ec2_instance_type" "node" {
  instance_type = var.node_size
}

locals {
  architecture = contains(data.aws_ec2_instance_type.node.supported_architectures, "arm64") ? "ARM_64" : "x86_64"
}

resource "aws_launch_template" "node" {
  name                   = "${local.resource_name}-node"
  description            = "The nodes of the cluster ${local.resource_name}"
  update_default_version = true
  # Here, and not at the group: there another size makes another group, and every gateway waits for it.
  instance_type = var.node_size
  tags          = local.tags

  # Sessions only, and for the node itself: no pod gets at the node's role.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.node_disk_gb
      encrypted             = true
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])

    content {
      resource_type = tag_specifications.value
      # With the operation, each later one would exchange every node.
      tags = { for key, value in local.tags : key => value if key != "openclaw-pipeline:operation" }
    }
  }

  lifecycle {
    ignore_changes = [name, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_eks_node_group" "gateways" {
  cluster_name    = aws_eks_cluster.gateways.name
  node_group_name = "gateways"
  node_role_arn   = aws_iam_role.node.arn
  subnet_ids      = [for it in aws_subnet.private : it.id]
  version         = aws_eks_cluster.gateways.version
  ami_type        = "AL2023_${local.architecture}_STANDARD"
  capacity_type   = "ON_DEMAND"
  tags            = local.tags

  launch_template {
    id      = aws_launch_template.node.id
    version = aws_launch_template.node.latest_version
  }

  scaling_config {
    desired_size = var.nodes
    min_size     = var.nodes_min
    max_size     = var.nodes_max
  }

  update_config {
    max_unavailable = 1
  }

  # A node without a network never gets ready.
  depends_on = [
    aws_eks_addon.network,
    aws_iam_role_policy_attachment.node,
    aws_route_table_association.private,
  ]

  lifecycle {
    ignore_changes = [
      # An autoscaler's, or the operator's, from day to day.
      scaling_config[0].desired_size,
      # These replace the group.
      node_role_arn,
      subnet_ids,
      ami_type,
      tags["openclaw-pipeline:operation"],
    ]
  }
}

# -------------------------------------------------------------------------------- the add-ons

# Network policies are objects that do nothing unless the network enforces them.
resource "aws_eks_addon" "network" {
  cluster_name                = aws_eks_cluster.gateways.name
  addon_name                  = "vpc-cni"
  configuration_values        = jsonencode({ enableNetworkPolicy = "true" })
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  tags                        = local.tags

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_eks_addon" "each" {
  for_each = toset(["coredns", "eks-pod-identity-agent", "kube-proxy"])

  cluster_name                = aws_eks_cluster.gateways.name
  addon_name                  = each.value
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  tags                        = local.tags

  # What runs as pods waits for nodes.
  depends_on = [aws_eks_node_group.gateways]

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_eks_addon" "volumes" {
  cluster_name                = aws_eks_cluster.gateways.name
  addon_name                  = "aws-ebs-csi-driver"
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  tags                        = local.tags

  # What it makes carries the installation, too.
  configuration_values = jsonencode({
    controller = {
      extraVolumeTags = { for key, value in local.tags : key => value if key != "Name" && key != "openclaw-pipeline:operation" }
    }
  })

  pod_identity_association {
    role_arn        = aws_iam_role.volumes.arn
    service_account = "ebs-csi-controller-sa"
  }

  depends_on = [
    aws_eks_addon.each["eks-pod-identity-agent"],
    aws_eks_node_group.gateways,
    aws_iam_role_policy_attachment.volumes,
  ]

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}
