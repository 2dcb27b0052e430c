# What is refused before anything is asked of the cloud. Each run gives several variables a bad value,
# and each of them must refuse its own.

mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012", arn = "arn:aws:iam::123456789012:user/me" }
  }

  mock_data "aws_iam_session_context" {
    defaults = { issuer_arn = "arn:aws:iam::123456789012:user/me" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }

  mock_data "aws_availability_zones" {
    defaults = { names = ["us-west-2a", "us-west-2b"] }
  }
}

variables {
  api_cidrs = ["203.0.113.7/32"]
}

run "refused_1" {
  command = plan

  variables {
    name               = "a-name-of-thirty-one-characters"
    suffix             = "abc"
    installation       = ""
    deployment         = "a b"
    operation          = "*"
    kubernetes_version = "1.31"
    api_cidrs          = ["0.0.0.0/0"]
    admin_arns         = ["arn:aws:sts::123456789012:assumed-role/operators/me"]
    availability_zones = ["us-west-2a"]
    vpc_cidr           = "8.8.0.0/16"
    node_size          = "medium"
    node_disk_gb       = 7
    nodes              = 4
  }

  expect_failures = [
    var.name,
    var.suffix,
    var.installation,
    var.deployment,
    var.operation,
    var.kubernetes_version,
    var.api_cidrs,
    var.admin_arns,
    var.availability_zones,
    var.vpc_cidr,
    var.node_size,
    var.node_disk_gb,
    var.nodes,
  ]
}

run "refused_2" {
  command = plan

  variables {
    kubernetes_version = "latest"
    api_cidrs          = ["203.0.113.7"]
    admin_arns         = ["*"]
    availability_zones = ["eu-west-1a", "eu-west-1b"]
    vpc_cidr           = "10.0.0.0/24"
    nodes_min          = -1
    nodes_max          = 1000
  }

  expect_failures = [
    var.kubernetes_version,
    var.api_cidrs,
    var.admin_arns,
    var.availability_zones,
    var.vpc_cidr,
    var.nodes_min,
    var.nodes_max,
  ]
}

run "refused_3" {
  command = plan

  variables {
    api_cidrs          = ["203.0.113.7/24"]
    availability_zones = ["us-west-2a", "us-west-2a"]
    vpc_cidr           = "10.0.1.0/16"
    nodes              = 0
  }

  expect_failures = [
    var.api_cidrs,
    var.availability_zones,
    var.vpc_cidr,
    var.nodes,
  ]
}

run "refused_4" {
  command = plan

  variables {
    region = "Oregon"
  }

  expect_failures = [var.region]
}
