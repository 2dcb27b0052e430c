# What a later apply leaves as it is. The provider is a mock, and nothing is replaced by one: held here
# is that what would replace an instance, a disk or an address keeps the value that it was made with.

mock_provider "aws" {
  mock_data "aws_ec2_instance_type" {
    defaults = { supported_architectures = ["x86_64"] }
  }

  mock_data "aws_ec2_instance_type_offerings" {
    defaults = { locations = ["us-west-2a"] }
  }
}

variables {
  name       = "main"
  suffix     = "0a1b2c3d"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAFNzsAClPcSHYtLLTkTDaoCxJHRrOjCp01dNWR"
  ssh_cidrs  = ["203.0.113.7/32"]
  operation  = "first"
}

override_data {
  target = data.aws_ssm_parameter.newest
  values = { insecure_value = "ami-00000000000000001" }
}

override_data {
  target = data.aws_vpc.default
  values = { id = "vpc-00000000000000001" }
}

override_data {
  target = data.aws_subnets.default
  values = { ids = ["subnet-00000000000000001"] }
}

run "made" {}

# A year later: a newer Amazon Linux, another default network, another version of the user data.
run "another_time" {
  variables {
    operation = "second"
    image     = "ghcr.io/openclaw/openclaw:2099.1.1"
  }

  override_data {
    target = data.aws_ssm_parameter.newest
    values = { insecure_value = "ami-00000000000000002" }
  }

  override_data {
    target = data.aws_vpc.default
    values = { id = "vpc-00000000000000002" }
  }

  override_data {
    target = data.aws_subnets.default
    values = { ids = ["subnet-00000000000000002"] }
  }

  assert {
    condition     = aws_instance.gateway.ami == "ami-00000000000000001" && aws_instance.gateway.subnet_id == "subnet-00000000000000001"
    error_message = "a newer image or another subnet reaches the instance"
  }

  assert {
    condition     = aws_security_group.gateway.vpc_id == "vpc-00000000000000001"
    error_message = "another network replaces the group"
  }

  assert {
    condition     = !strcontains(nonsensitive(aws_instance.gateway.user_data), base64encode("ghcr.io/openclaw/openclaw:2099.1.1"))
    error_message = "changed user data stops the instance"
  }

  assert {
    condition = toset([
      for it in concat(
        [aws_instance.gateway.tags, aws_instance.gateway.volume_tags, aws_eip.gateway.tags],
        [aws_key_pair.gateway.tags, aws_security_group.gateway.tags, aws_vpc_security_group_egress_rule.all.tags],
        [for it in aws_vpc_security_group_ingress_rule.ssh : it.tags],
        [for it in aws_vpc_security_group_ingress_rule.gateway : it.tags],
      ) : it["openclaw-pipeline:operation"]
    ]) == toset(["first"])
    error_message = "a resource says another operation than the one that made it"
  }
}

run "another_wish" {
  variables {
    name         = "other"
    suffix       = "ffffffff"
    size         = "t4g.large"
    ami_id       = "ami-00000000000000003"
    subnet_id    = "subnet-00000000000000003"
    public_key   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB6odu6vvoJapzdGQxUgkCgU5plGuz+BYNiqqjiOmcKO"
    gateway_port = 8443
    volume_gb    = 60
  }

  assert {
    condition     = aws_instance.gateway.ami == "ami-00000000000000001" && aws_instance.gateway.subnet_id == "subnet-00000000000000001" && aws_instance.gateway.instance_type == "t3.medium"
    error_message = "an image, a subnet or a size replaces the instance"
  }

  assert {
    condition     = aws_instance.gateway.key_name == "openclaw-main-0a1b2c3d" && aws_key_pair.gateway.public_key == "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAFNzsAClPcSHYtLLTkTDaoCxJHRrOjCp01dNWR"
    error_message = "another key replaces the instance or the pair"
  }

  assert {
    condition     = aws_security_group.gateway.name == "openclaw-main-0a1b2c3d"
    error_message = "another name replaces the group"
  }

  assert {
    condition     = aws_instance.gateway.root_block_device[0].volume_size == 60
    error_message = "the disk does not grow"
  }

  assert {
    condition     = [for it in aws_vpc_security_group_ingress_rule.gateway : it.from_port] == [8443]
    error_message = "the firewall does not follow the port"
  }

  assert {
    condition     = aws_instance.gateway.tags["Name"] == "openclaw-other-ffffffff"
    error_message = "other tags do not follow"
  }
}
