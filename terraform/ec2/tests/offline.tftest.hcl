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
  name       = "main"
  suffix     = "0a1b2c3d"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAFNzsAClPcSHYtLLTkTDaoCxJHRrOjCp01dNWR a key of nobody's"
  ssh_cidrs  = ["203.0.113.7/32"]

  installation = "inst-1"
  deployment   = "depl-2"
  operation    = "oper-3"
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = data.aws_ec2_instance_type.size
  values = { supported_architectures = ["i386", "x86_64"] }
}

override_data {
  target = data.aws_ssm_parameter.newest
  values = { insecure_value = "ami-0123456789abcdef0" }
}

override_data {
  target = data.aws_vpc.default
  values = { id = "vpc-0123456789abcdef0" }
}

override_data {
  target = data.aws_ec2_instance_type_offerings.zones
  values = { locations = ["us-west-2a", "us-west-2b"] }
}

override_data {
  target = data.aws_subnets.default
  values = { ids = ["subnet-0bbbbbbbbbbbbbbbb", "subnet-0aaaaaaaaaaaaaaaa"] }
}

override_data {
  target = data.aws_subnet.named
  values = { vpc_id = "vpc-0fedcba9876543210" }
}

# ------------------------------------------------------------------------------- what it is

run "machine" {
  command = plan

  assert {
    condition     = aws_instance.gateway.instance_type == "t3.medium" && aws_instance.gateway.ami == "ami-0123456789abcdef0"
    error_message = "t3.medium, with the newest image"
  }

  assert {
    condition     = endswith(data.aws_ssm_parameter.newest[0].name, "al2023-ami-kernel-default-x86_64")
    error_message = "the image of the type's architecture"
  }

  assert {
    condition     = aws_instance.gateway.subnet_id == "subnet-0aaaaaaaaaaaaaaaa"
    error_message = "always the same one of the default subnets"
  }

  assert {
    condition = alltrue([
      for it in aws_instance.gateway.root_block_device :
      it.encrypted && it.volume_type == "gp3" && it.volume_size == 30 && it.delete_on_termination
    ]) && length(aws_instance.gateway.root_block_device) == 1
    error_message = "one encrypted gp3 disk of 30 GB, which goes with the instance"
  }

  assert {
    condition = alltrue([
      for it in aws_instance.gateway.metadata_options :
      it.http_tokens == "required" && it.http_put_response_hop_limit == 1 && it.http_protocol_ipv6 == "disabled" && it.instance_metadata_tags == "disabled"
    ]) && length(aws_instance.gateway.metadata_options) == 1
    error_message = "IMDSv2 alone, for one hop"
  }

  assert {
    condition     = length(aws_iam_role.server) + length(aws_iam_instance_profile.server) + length(aws_iam_role_policy.server) == 0
    error_message = "a gateway's machine has no role"
  }

  assert {
    condition     = aws_eip.gateway.domain == "vpc"
    error_message = "an address of its own"
  }
}

run "names" {
  command = plan

  variables {
    name = "a-name-of-forty-characters-0123456789abc"
  }

  assert {
    condition     = aws_key_pair.gateway.key_name == "openclaw-a-name-of-forty-characters-0123456789abc-0a1b2c3d" && length(aws_key_pair.gateway.key_name) <= 64
    error_message = "names are unique by their suffix, and short enough for a role"
  }

  assert {
    condition     = aws_security_group.gateway.name == aws_key_pair.gateway.key_name
    error_message = "all the same"
  }
}

run "a_suffix_by_hand" {
  command = plan

  variables {
    suffix = ""
  }

  assert {
    condition     = output.resource_name == "openclaw-main-${substr(sha256("123456789012/us-west-2/main"), 0, 8)}"
    error_message = "a hash of account, region and name"
  }
}

run "tags" {
  command = plan

  variables {
    server       = true
    server_cidrs = ["198.51.100.0/24"]
  }

  assert {
    condition = alltrue([
      for it in concat(
        [aws_instance.gateway.tags_all, aws_instance.gateway.volume_tags, aws_eip.gateway.tags_all],
        [aws_key_pair.gateway.tags_all, aws_security_group.gateway.tags_all],
        [aws_vpc_security_group_egress_rule.all.tags_all],
        [for it in aws_vpc_security_group_ingress_rule.ssh : it.tags_all],
        [for it in aws_vpc_security_group_ingress_rule.gateway : it.tags_all],
        [for it in aws_vpc_security_group_ingress_rule.server : it.tags_all],
        [for it in aws_iam_role.server : it.tags_all],
        [for it in aws_iam_instance_profile.server : it.tags_all],
        ) : it == tomap({
          "Name"                           = "openclaw-main-0a1b2c3d"
          "openclaw-pipeline:installation" = "inst-1"
          "openclaw-pipeline:deployment"   = "depl-2"
          "openclaw-pipeline:name"         = "main"
          "openclaw-pipeline:operation"    = "oper-3"
      })
    ])
    error_message = "everything carries the same five tags"
  }
}

run "arm" {
  command = plan

  variables {
    size = "t4g.medium"
  }

  override_data {
    target = data.aws_ec2_instance_type.size
    values = { supported_architectures = ["arm64"] }
  }

  assert {
    condition     = endswith(data.aws_ssm_parameter.newest[0].name, "al2023-ami-kernel-default-arm64")
    error_message = "the image of the type's architecture"
  }
}

run "named_image_and_subnet" {
  command = plan

  variables {
    ami_id    = "ami-0fedcba9876543210"
    subnet_id = "subnet-0cccccccccccccccc"
  }

  assert {
    condition     = aws_instance.gateway.ami == "ami-0fedcba9876543210" && length(data.aws_ssm_parameter.newest) == 0 && length(data.aws_ec2_instance_type.size) == 0
    error_message = "a named image is taken, and none is looked up"
  }

  assert {
    condition     = aws_instance.gateway.subnet_id == "subnet-0cccccccccccccccc" && aws_security_group.gateway.vpc_id == "vpc-0fedcba9876543210" && length(data.aws_vpc.default) == 0
    error_message = "and so is a named subnet, with its network"
  }
}

# ----------------------------------------------------------------------------- who gets in

run "firewall" {
  command = plan

  assert {
    condition     = [for it in aws_vpc_security_group_ingress_rule.ssh : "${it.cidr_ipv4} ${it.from_port}-${it.to_port} ${it.ip_protocol}"] == ["203.0.113.7/32 22-22 tcp"]
    error_message = "SSH from the named address"
  }

  assert {
    condition     = [for it in aws_vpc_security_group_ingress_rule.gateway : "${it.cidr_ipv4} ${it.from_port}-${it.to_port} ${it.ip_protocol}"] == ["0.0.0.0/0 18789-18789 tcp"]
    error_message = "the gateway from everywhere"
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.server) == 0
    error_message = "4000 is the server's alone"
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.all.cidr_ipv4 == "0.0.0.0/0" && aws_vpc_security_group_egress_rule.all.ip_protocol == "-1"
    error_message = "everything IPv4 outward"
  }
}

run "closed" {
  command = plan

  variables {
    gateway_cidrs = []
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.gateway) == 0 && length(aws_vpc_security_group_ingress_rule.ssh) == 1
    error_message = "no range closes the gateway's port"
  }
}

run "another_port" {
  command = plan

  variables {
    gateway_port  = 8443
    gateway_cidrs = ["198.51.100.0/24", "192.0.2.0/24"]
  }

  assert {
    condition     = alltrue([for it in aws_vpc_security_group_ingress_rule.gateway : it.from_port == 8443 && it.to_port == 8443]) && length(aws_vpc_security_group_ingress_rule.gateway) == 2
    error_message = "a rule for each range, with the port"
  }
}

run "server_is_reached_like_ssh" {
  command = plan

  variables {
    server = true
  }

  assert {
    condition     = [for it in aws_vpc_security_group_ingress_rule.server : "${it.cidr_ipv4} ${it.from_port}-${it.to_port} ${it.ip_protocol}"] == ["203.0.113.7/32 4000-4000 tcp"]
    error_message = "4000 from where SSH is let in, unless asked otherwise"
  }
}

# ------------------------------------------------------------------------ what is refused

run "no_size_in_the_region" {
  command = plan

  override_data {
    target = data.aws_ec2_instance_type_offerings.zones
    values = { locations = [] }
  }

  expect_failures = [data.aws_subnets.default]
}

run "no_default_subnet" {
  command = plan

  override_data {
    target = data.aws_subnets.default
    values = { ids = [] }
  }

  expect_failures = [data.aws_subnets.default]
}

# -------------------------------------------------------------------------- what it is told

run "user_data" {
  command = plan

  variables {
    image = "ghcr.io/openclaw/openclaw@sha256:dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372"
    # A key of nobody's.
    host_key = <<-EOT
      -----BEGIN OPENSSH PRIVATE KEY-----
      b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
      QyNTUxOQAAACAeqHbur76CWqc3RkMVIJAoFOaZRrs/gWDYqqo4jpnCjgAAAIjjOr7/4zq+
      /wAAAAtzc2gtZWQyNTUxOQAAACAeqHbur76CWqc3RkMVIJAoFOaZRrs/gWDYqqo4jpnCjg
      AAAED+3mDb+XJdlVo6xmq9wDBQc/LaH9yjDjrf2IQZB/6ztx6odu6vvoJapzdGQxUgkCgU
      5plGuz+BYNiqqjiOmcKOAAAAAXQBAgME
      -----END OPENSSH PRIVATE KEY-----
    EOT
  }

  assert {
    condition     = strcontains(nonsensitive(local.user_data), "host_key=$(decoded \"${base64encode(trimspace(var.host_key))}\")")
    error_message = "the key stands there in letters that mean nothing to a shell"
  }

  assert {
    condition     = strcontains(nonsensitive(local.user_data), "image=$(decoded \"${base64encode(var.image)}\")")
    error_message = "and so does the image"
  }

  assert {
    condition     = length(nonsensitive(local.user_data)) < 12000
    error_message = "far from the 16 KB that are the most"
  }
}
