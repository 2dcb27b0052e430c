# What a later apply leaves as it is. The provider is a mock, and nothing is replaced by one: held here
# is that what would replace the cluster, its network or its nodes keeps the value that it was made with.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012", arn = "arn:aws:iam::123456789012:user/me" }
  }

  mock_data "aws_availability_zones" {
    defaults = { names = ["us-west-2b", "us-west-2c"] }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_data "aws_iam_session_context" {
    defaults = { issuer_arn = "arn:aws:iam::123456789012:role/operators" }
  }

  mock_data "aws_ec2_instance_type" {
    defaults = { supported_architectures = ["x86_64"] }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-west-2:123456789012:key/mock" }
  }

  mock_resource "aws_eks_cluster" {
    defaults = { certificate_authority = [{ data = "bm9uZQ==" }] }
  }

  mock_resource "aws_vpc" {
    defaults = { id = "vpc-0123456789abcdef0" }
  }

  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
  }
}

variables {
  suffix    = "0a1b2c3d"
  api_cidrs = ["203.0.113.7/32"]
  operation = "first"
}

run "made" {}

# A year later: a new zone that comes first, another size of nodes, more of them by hand.
run "another_time" {
  variables {
    operation = "second"
    vpc_cidr  = "10.1.0.0/16"
    nodes     = 3
    node_size = "t4g.large"
  }

  override_data {
    target = data.aws_availability_zones.usable
    values = { names = ["us-west-2a", "us-west-2b", "us-west-2c"] }
  }

  override_data {
    target = data.aws_ec2_instance_type.node
    values = { supported_architectures = ["arm64"] }
  }

  assert {
    condition     = aws_vpc.cluster.cidr_block == "10.0.0.0/16" && [for it in aws_subnet.private : it.availability_zone] == ["us-west-2b", "us-west-2c"]
    error_message = "the network stays where it is"
  }

  assert {
    condition     = one(aws_eks_node_group.gateways.scaling_config).desired_size == 2 && aws_eks_node_group.gateways.ami_type == "AL2023_x86_64_STANDARD"
    error_message = "the nodes stay as many as they are, and of their architecture"
  }

  assert {
    condition     = aws_eks_cluster.gateways.tags["openclaw-pipeline:operation"] == "first" && aws_eks_node_group.gateways.tags["openclaw-pipeline:operation"] == "first"
    error_message = "a resource keeps the operation that made it"
  }
}
