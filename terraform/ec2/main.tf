# A machine for one OpenClaw gateway, or for the pipeline server, on EC2: an instance with its disk,
# an address that stays, a firewall, an SSH key. Everything is made in an account's default network
# unless a subnet is named. docs/terraform.md says how to use this by hand.
#
# The gateway's data is on the instance's root disk. So no later apply replaces instance, disk or
# address: whatever would is listed under ignore_changes, with the reason.

provider "aws" {
  region = var.region
  # Long enough for throttling to pass. The provider's own 25 take a quarter of an hour to say that
  # there is no such machine free.
  max_retries = 7
}

data "aws_caller_identity" "current" {}

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

  server_port  = 4000
  server_cidrs = var.server ? coalesce(var.server_cidrs, var.ssh_cidrs) : []

  # The plugin that Amazon Linux does not package, by version and SHA-256.
  compose_version = "2.40.3"
  compose_sha256 = {
    x86_64  = "dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372"
    aarch64 = "d26373b19e89160546d15407516cc59f453030d9bc5b43ba7faf16f7b4980137"
  }

  # Not a validation of the variable: Terraform shows what one refuses, be it a secret or not.
  host_key_is_one = nonsensitive(var.host_key == "" || can(regex("^-----BEGIN OPENSSH PRIVATE KEY-----b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUxOQAAAC[A-Za-z0-9+/]{200,800}={0,2}-----END OPENSSH PRIVATE KEY-----$", replace(replace(var.host_key, "\n", ""), "\r", ""))))

  user_data = templatefile("${path.module}/user-data.sh", {
    host_key               = base64encode(trimspace(var.host_key))
    image                  = base64encode(var.image)
    compose_version        = base64encode(local.compose_version)
    compose_sha256_x86_64  = base64encode(local.compose_sha256.x86_64)
    compose_sha256_aarch64 = base64encode(local.compose_sha256.aarch64)
  })
}

# ----------------------------------------------------------------------------- what is started

# Looked up only where no image is named; a newer one changes nothing for an instance that exists.
data "aws_ec2_instance_type" "size" {
  count = var.ami_id == "" ? 1 : 0

  instance_type = var.size
}

locals {
  architecture = one([
    for it in data.aws_ec2_instance_type.size : contains(it.supported_architectures, "arm64") ? "arm64" : "x86_64"
  ])
}

data "aws_ssm_parameter" "newest" {
  count = var.ami_id == "" ? 1 : 0

  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${local.architecture}"
}

# -------------------------------------------------------------------------------- the network

data "aws_vpc" "default" {
  count = var.subnet_id == "" ? 1 : 0

  default = true
}

# Not every zone of a region has every instance type.
data "aws_ec2_instance_type_offerings" "zones" {
  count = var.subnet_id == "" ? 1 : 0

  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = [var.size]
  }
}

data "aws_subnets" "default" {
  count = var.subnet_id == "" ? 1 : 0

  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default[0].id]
  }

  filter {
    name   = "default-for-az"
    values = ["true"]
  }

  filter {
    name   = "availability-zone"
    values = data.aws_ec2_instance_type_offerings.zones[0].locations
  }

  lifecycle {
    precondition {
      condition     = length(data.aws_ec2_instance_type_offerings.zones[0].locations) > 0
      error_message = "There is no ${var.size} in ${var.region}: choose another size."
    }

    postcondition {
      condition     = length(self.ids) > 0
      error_message = "The default network has no subnet for a ${var.size} in ${var.region}: name one with subnet_id."
    }
  }
}

data "aws_subnet" "named" {
  count = var.subnet_id == "" ? 0 : 1

  id = var.subnet_id
}

locals {
  vpc_id    = one(concat(data.aws_vpc.default[*].id, data.aws_subnet.named[*].vpc_id))
  subnet_id = var.subnet_id != "" ? var.subnet_id : sort(data.aws_subnets.default[0].ids)[0]
}

# ------------------------------------------------------------------------------- the firewall

# IPv4 alone is let in: through Docker's IPv6 proxy every client looks like one of the machine's own.
resource "aws_security_group" "gateway" {
  name        = local.resource_name
  description = "What reaches the OpenClaw machine ${var.name}"
  vpc_id      = local.vpc_id
  tags        = local.tags

  lifecycle {
    # The first three replace the group, which fails while an instance is in it.
    # A resource keeps the operation that made it.
    ignore_changes = [name, description, vpc_id, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each = toset(var.ssh_cidrs)

  security_group_id = aws_security_group.gateway.id
  description       = "SSH"
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_ipv4         = each.value
  tags              = local.tags

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_vpc_security_group_ingress_rule" "gateway" {
  for_each = toset(var.gateway_cidrs)

  security_group_id = aws_security_group.gateway.id
  description       = "The gateway"
  ip_protocol       = "tcp"
  from_port         = var.gateway_port
  to_port           = var.gateway_port
  cidr_ipv4         = each.value
  tags              = local.tags

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_vpc_security_group_ingress_rule" "server" {
  for_each = toset(local.server_cidrs)

  security_group_id = aws_security_group.gateway.id
  description       = "The pipeline server"
  ip_protocol       = "tcp"
  from_port         = local.server_port
  to_port           = local.server_port
  cidr_ipv4         = each.value
  tags              = local.tags

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.gateway.id
  description       = "Packages, images, providers and channels"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

# -------------------------------------------------------------------------------- the machine

resource "aws_key_pair" "gateway" {
  key_name   = local.resource_name
  public_key = trimspace(var.public_key)
  tags       = local.tags

  lifecycle {
    # Either replaces the pair, and changes nothing on the machine: that read it at its first boot.
    ignore_changes = [key_name, public_key, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_instance" "gateway" {
  ami                    = var.ami_id != "" ? var.ami_id : data.aws_ssm_parameter.newest[0].insecure_value
  instance_type          = var.size
  subnet_id              = local.subnet_id
  vpc_security_group_ids = [aws_security_group.gateway.id]
  key_name               = aws_key_pair.gateway.key_name
  iam_instance_profile   = one(aws_iam_instance_profile.server[*].name)
  user_data              = local.user_data
  tags                   = local.tags
  # Not in root_block_device: from here they are sent with the launch, so that no disk is ever
  # without them.
  volume_tags = local.tags

  # Only who can open a session gets the role's credentials, and no container: an answer takes one
  # hop and no further.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    http_protocol_ipv6          = "disabled"
    instance_metadata_tags      = "disabled"
  }

  root_block_device {
    encrypted             = true
    volume_type           = "gp3"
    volume_size           = var.volume_gb
    delete_on_termination = true
  }

  lifecycle {
    ignore_changes = [
      # A newer Amazon Linux replaces the instance. The running one is updated from within.
      ami,
      # One of another architecture replaces the instance, any other stops it.
      instance_type,
      # Another zone or network replaces it: the default subnet may not be the same one next year.
      subnet_id,
      # So does another name for the key.
      key_name,
      # A change stops the instance and starts it again, for a script that has long run.
      user_data,
      user_data_base64,
      # A disk that was made without encryption is replaced to have it.
      root_block_device[0].encrypted,
      root_block_device[0].kms_key_id,
      # A resource keeps the operation that made it.
      tags["openclaw-pipeline:operation"],
      volume_tags["openclaw-pipeline:operation"],
    ]

    precondition {
      condition     = local.host_key_is_one
      error_message = "host_key is no ed25519 key without a passphrase, as ssh-keygen writes it."
    }

    precondition {
      condition     = length(local.user_data) <= 16384
      error_message = "EC2 takes user data of 16 KB at most."
    }
  }
}

resource "aws_eip" "gateway" {
  domain = "vpc"
  tags   = local.tags

  lifecycle {
    # These replace the address, which then stands in no link and no allowed origin.
    ignore_changes = [domain, network_border_group, public_ipv4_pool, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_eip_association" "gateway" {
  allocation_id = aws_eip.gateway.id
  instance_id   = aws_instance.gateway.id
}
