# A machine for one OpenClaw gateway, or for the pipeline server, on Lightsail: an instance with its
# disk, an address that stays, a firewall, an SSH key. docs/terraform.md says how to use this by hand.
#
# The gateway's data is on the instance's disk. So no later apply replaces instance or address:
# whatever would is listed under ignore_changes, with the reason.
#
# Instance and key pair carry tags. Addresses, their attachments and firewalls have none on
# Lightsail: they are known by their names, which are made of the deployment's.

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

  # A port without a range is left out: with an empty one Lightsail would open it to everybody.
  open_ports = [
    for it in [
      { port = 22, cidrs = var.ssh_cidrs },
      { port = var.gateway_port, cidrs = var.gateway_cidrs },
      { port = local.server_port, cidrs = local.server_cidrs },
    ] : it if length(it.cidrs) > 0
  ]

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

resource "aws_lightsail_key_pair" "gateway" {
  name       = "${local.resource_name}-key"
  public_key = trimspace(var.public_key)
  tags       = local.tags

  lifecycle {
    # Either replaces the pair, and changes nothing on the machine: that read it at its first boot.
    ignore_changes = [name, public_key, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_lightsail_instance" "gateway" {
  name              = local.resource_name
  availability_zone = var.availability_zone != "" ? var.availability_zone : "${var.region}a"
  blueprint_id      = "amazon_linux_2023"
  bundle_id         = var.size
  key_pair_name     = aws_lightsail_key_pair.gateway.name
  user_data         = local.user_data
  tags              = local.tags
  # Through Docker's IPv6 proxy every client would look like one of the machine's own.
  ip_address_type = "ipv4"

  lifecycle {
    # On Lightsail each of these replaces the instance, and its disk with it.
    ignore_changes = [
      # Another name is another deployment: it has a state of its own.
      name,
      availability_zone,
      # Amazon Linux is updated from within.
      blueprint_id,
      # A larger instance is made of a snapshot.
      bundle_id,
      # The key and the script were read at the first boot.
      key_pair_name,
      user_data,
      # A resource keeps the operation that made it.
      tags["openclaw-pipeline:operation"],
    ]

    precondition {
      condition     = local.host_key_is_one
      error_message = "host_key is no ed25519 key without a passphrase, as ssh-keygen writes it."
    }

    precondition {
      condition     = length(local.user_data) <= 16384
      error_message = "Lightsail takes user data of 16 KB at most."
    }
  }
}

resource "aws_lightsail_static_ip" "gateway" {
  name = "${local.resource_name}-ip"

  lifecycle {
    # Another name replaces the address, which then stands in no link and no allowed origin.
    ignore_changes = [name]
  }
}

resource "aws_lightsail_static_ip_attachment" "gateway" {
  static_ip_name = aws_lightsail_static_ip.gateway.name
  instance_name  = aws_lightsail_instance.gateway.name
}

# What is not named here is closed, Lightsail's own browser terminal included. A change replaces the
# rules as a whole: for a second or two nobody new is let in.
resource "aws_lightsail_instance_public_ports" "gateway" {
  instance_name = aws_lightsail_instance.gateway.name

  dynamic "port_info" {
    for_each = local.open_ports

    content {
      protocol  = "tcp"
      from_port = port_info.value.port
      to_port   = port_info.value.port
      cidrs     = port_info.value.cidrs
    }
  }
}
