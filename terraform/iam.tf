# The roles: of the cluster, of its nodes, and of the driver that makes volumes, which gets its own by
# EKS Pod Identity, so that no other pod has it.

data "aws_iam_policy_document" "cluster" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["eks.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "node" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "pod" {
  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]

    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }

    # No cluster of another account, and no other cluster of this one.
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_eks_cluster.gateways.arn]
    }
  }
}

resource "aws_iam_role" "cluster" {
  name               = "${local.resource_name}-cluster"
  description        = "The control plane of the cluster ${local.resource_name}"
  assume_role_policy = data.aws_iam_policy_document.cluster.json
  tags               = local.tags

  lifecycle {
    ignore_changes = [name, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_iam_role" "node" {
  name               = "${local.resource_name}-node"
  description        = "The nodes of the cluster ${local.resource_name}"
  assume_role_policy = data.aws_iam_policy_document.node.json
  tags               = local.tags

  lifecycle {
    ignore_changes = [name, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_iam_role" "volumes" {
  name               = "${local.resource_name}-volumes"
  description        = "The EBS CSI driver of the cluster ${local.resource_name}"
  assume_role_policy = data.aws_iam_policy_document.pod.json
  tags               = local.tags

  lifecycle {
    ignore_changes = [name, tags["openclaw-pipeline:operation"]]
  }
}

locals {
  aws_policies = "arn:${data.aws_partition.current.partition}:iam::aws:policy"
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "${local.aws_policies}/AmazonEKSClusterPolicy"
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each = toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"])

  role       = aws_iam_role.node.name
  policy_arn = "${local.aws_policies}/${each.value}"
}

resource "aws_iam_role_policy_attachment" "volumes" {
  role       = aws_iam_role.volumes.name
  policy_arn = "${local.aws_policies}/service-role/AmazonEBSCSIDriverPolicy"
}
