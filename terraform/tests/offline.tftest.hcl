# What would be made, with the real provider and without a cloud: what the provider would look up is
# given here.

provider "aws" {
  region                      = "us-west-2"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

variables {
  suffix    = "0a1b2c3d"
  api_cidrs = ["203.0.113.7/32"]

  installation = "inst-1"
  deployment   = "depl-2"
  operation    = "oper-3"
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012", arn = "arn:aws:sts::123456789012:assumed-role/operators/me" }
}

override_data {
  target = data.aws_iam_session_context.current
  values = { issuer_arn = "arn:aws:iam::123456789012:role/operators" }
}

override_data {
  target = data.aws_partition.current
  values = { partition = "aws" }
}

override_data {
  target = data.aws_availability_zones.usable
  values = { names = ["us-west-2c", "us-west-2a", "us-west-2b"] }
}

override_data {
  target = data.aws_ec2_instance_type.node
  values = { supported_architectures = ["x86_64"] }
}

run "cluster" {
  command = plan

  assert {
    condition     = aws_eks_cluster.gateways.name == "openclaw-cluster-0a1b2c3d" && aws_eks_cluster.gateways.version == "1.35"
    error_message = "a version in standard support, under a name that is unique in the account"
  }

  assert {
    condition     = one(aws_eks_cluster.gateways.vpc_config).endpoint_private_access && one(aws_eks_cluster.gateways.vpc_config).endpoint_public_access && one(aws_eks_cluster.gateways.vpc_config).public_access_cidrs == toset(["203.0.113.7/32"])
    error_message = "the API is open to the operator's ranges alone"
  }

  assert {
    condition     = one(one(aws_eks_cluster.gateways.encryption_config).resources) == "secrets" && aws_kms_key.secrets.enable_key_rotation
    error_message = "secrets are encrypted, with a key that is exchanged every year"
  }

  assert {
    condition     = aws_eks_cluster.gateways.enabled_cluster_log_types == toset(["api", "audit", "authenticator", "controllerManager", "scheduler"]) && aws_cloudwatch_log_group.cluster.retention_in_days == 30
    error_message = "every log of the control plane, for a month"
  }

  assert {
    condition     = one(aws_eks_cluster.gateways.access_config).authentication_mode == "API" && !one(aws_eks_cluster.gateways.access_config).bootstrap_cluster_creator_admin_permissions
    error_message = "who may do what stands in access entries alone"
  }

  assert {
    condition     = keys(aws_eks_access_entry.admin) == ["arn:aws:iam::123456789012:role/operators"] && endswith(one(values(aws_eks_access_policy_association.admin)).policy_arn, "/AmazonEKSClusterAdminPolicy")
    error_message = "whoever makes it administers it, by their role and not by their session"
  }

  assert {
    condition     = one(aws_eks_cluster.gateways.upgrade_policy).support_type == "STANDARD"
    error_message = "no extended support, which costs six times as much"
  }
}

run "network" {
  command = plan

  assert {
    condition     = aws_vpc.cluster.cidr_block == "10.0.0.0/16" && aws_vpc.cluster.enable_dns_hostnames
    error_message = "10.0.0.0/16"
  }

  assert {
    condition     = [for it in aws_subnet.public : it.availability_zone] == ["us-west-2a", "us-west-2b"] && [for it in aws_subnet.private : it.availability_zone] == ["us-west-2a", "us-west-2b"]
    error_message = "in the first two zones"
  }

  assert {
    condition     = data.aws_availability_zones.usable.exclude_zone_ids == toset(["use1-az3", "usw1-az2", "cac1-az3"])
    error_message = "but for those where EKS puts no control plane"
  }

  assert {
    condition     = [for it in aws_subnet.public : it.cidr_block] == ["10.0.0.0/20", "10.0.16.0/20"] && [for it in aws_subnet.private : it.cidr_block] == ["10.0.128.0/20", "10.0.144.0/20"]
    error_message = "apart from each other, with room between"
  }

  assert {
    condition     = alltrue([for it in aws_subnet.public : it.tags["kubernetes.io/role/elb"] == "1"]) && alltrue([for it in aws_subnet.private : it.tags["kubernetes.io/role/internal-elb"] == "1" && !it.map_public_ip_on_launch])
    error_message = "load balancers find their subnets, and no node has a public address"
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.api) == 2 && alltrue([for it in aws_vpc_security_group_ingress_rule.api : it.from_port == 443 && startswith(it.cidr_ipv4, "10.0.1")])
    error_message = "from within, the API is reached by HTTPS from the private subnets"
  }
}

run "nodes" {
  command = plan

  assert {
    condition     = aws_launch_template.node.instance_type == "t3.medium" && aws_eks_node_group.gateways.ami_type == "AL2023_x86_64_STANDARD" && aws_eks_node_group.gateways.version == "1.35"
    error_message = "t3.medium with Amazon Linux 2023, of the cluster's version"
  }

  assert {
    condition     = one(aws_eks_node_group.gateways.scaling_config).desired_size == 2 && one(aws_eks_node_group.gateways.scaling_config).min_size == 1 && one(aws_eks_node_group.gateways.scaling_config).max_size == 3
    error_message = "two nodes, from one to three"
  }

  assert {
    condition     = one(aws_launch_template.node.metadata_options).http_tokens == "required" && one(aws_launch_template.node.metadata_options).http_put_response_hop_limit == 1
    error_message = "IMDSv2 alone, for one hop: no pod gets at the node's role"
  }

  assert {
    condition     = one(one(aws_launch_template.node.block_device_mappings).ebs).encrypted == "true" && one(one(aws_launch_template.node.block_device_mappings).ebs).volume_type == "gp3"
    error_message = "encrypted disks"
  }

  assert {
    condition     = alltrue([for it in aws_launch_template.node.tag_specifications : it.tags["openclaw-pipeline:installation"] == "inst-1" && !contains(keys(it.tags), "openclaw-pipeline:operation")]) && length(aws_launch_template.node.tag_specifications) == 3
    error_message = "instances, disks and interfaces are tagged, and a later operation exchanges no node"
  }
}

run "arm" {
  command = plan

  variables {
    node_size = "t4g.medium"
  }

  override_data {
    target = data.aws_ec2_instance_type.node
    values = { supported_architectures = ["arm64"] }
  }

  assert {
    condition     = aws_eks_node_group.gateways.ami_type == "AL2023_ARM_64_STANDARD"
    error_message = "the image of the type's architecture"
  }
}

run "addons" {
  command = plan

  assert {
    condition     = jsondecode(aws_eks_addon.network.configuration_values).enableNetworkPolicy == "true" && aws_eks_addon.network.addon_name == "vpc-cni"
    error_message = "network policies are enforced"
  }

  assert {
    condition     = keys(aws_eks_addon.each) == ["coredns", "eks-pod-identity-agent", "kube-proxy"] && aws_eks_addon.volumes.addon_name == "aws-ebs-csi-driver"
    error_message = "names, services, the roles of pods, volumes"
  }

  assert {
    condition     = one(aws_eks_addon.volumes.pod_identity_association).service_account == "ebs-csi-controller-sa" && endswith(aws_iam_role_policy_attachment.volumes.policy_arn, ":aws:policy/service-role/AmazonEBSCSIDriverPolicy")
    error_message = "the driver alone has the right to make volumes"
  }

  assert {
    condition     = jsondecode(aws_eks_addon.volumes.configuration_values).controller.extraVolumeTags == { "openclaw-pipeline:installation" = "inst-1", "openclaw-pipeline:deployment" = "depl-2", "openclaw-pipeline:name" = "cluster" }
    error_message = "volumes are tagged, too"
  }
}

run "tags" {
  command = plan

  variables {
    name = "a-name-of-thirty-characters-01"
  }

  assert {
    condition = alltrue([
      for tags in [
        aws_vpc.cluster.tags, aws_eip.nat.tags, aws_nat_gateway.cluster.tags, aws_internet_gateway.cluster.tags,
        aws_route_table.public.tags, aws_route_table.private.tags, aws_security_group.api.tags, aws_kms_key.secrets.tags,
        aws_cloudwatch_log_group.cluster.tags, aws_eks_cluster.gateways.tags, aws_launch_template.node.tags,
        aws_eks_node_group.gateways.tags, aws_eks_addon.network.tags, aws_eks_addon.volumes.tags,
        aws_iam_role.cluster.tags, aws_iam_role.node.tags, aws_iam_role.volumes.tags,
      ] : tags["openclaw-pipeline:installation"] == "inst-1" && tags["openclaw-pipeline:deployment"] == "depl-2" && tags["openclaw-pipeline:operation"] == "oper-3"
    ])
    error_message = "everything carries installation, deployment and operation"
  }

  assert {
    condition     = alltrue([for it in [aws_iam_role.cluster.name, aws_iam_role.node.name, aws_iam_role.volumes.name] : length(it) <= 64])
    error_message = "names are short enough for a role"
  }
}

run "closed" {
  command = plan

  variables {
    api_cidrs  = []
    admin_arns = ["arn:aws:iam::123456789012:role/others"]
  }

  assert {
    condition     = !one(aws_eks_cluster.gateways.vpc_config).endpoint_public_access
    error_message = "without a range the API is in the cluster's network alone"
  }

  assert {
    condition     = length(aws_eks_access_entry.admin) == 2
    error_message = "others administer it, too"
  }
}

run "a_suffix_by_hand" {
  command = plan

  variables {
    suffix = ""
  }

  assert {
    condition     = output.resource_name == "openclaw-cluster-${substr(sha256("123456789012/us-west-2/cluster"), 0, 8)}"
    error_message = "a hash of account, region and name"
  }
}
