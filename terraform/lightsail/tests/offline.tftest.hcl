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
  public_key = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC+pswad+5fEOcUXcMKos6hc4lEfTucjZgxzi70XJsWcD//daQMqGB9KBZ+OazpgTua5lP4MsItsIVhjQjxXlqec+8aNyQ5vRsfu2zYZ4ayBpRz0OYcpgdnxt/nZ+4CsU58DroRN+6e14XwfvMtnJSfataMjONyMLT2IfTqqrM2YTVatY+OgoaBmiX5O+c1yfVU/FEuZTuhrtxERmL2yeRGDnjps8vO2lNmgAhhHKjz4RFzJO+GfHRGrvijKHJUPSFIPn1G+LW9EqEtGMIjODJEDOsf/WIsjBg1Zn2xHNikXewchFOK0UI+IQSz/1b1x3AnsBL8Om9OeVDIccioXKbz a key of nobody's"
  ssh_cidrs  = ["203.0.113.7/32"]

  installation = "inst-1"
  deployment   = "depl-2"
  operation    = "oper-3"
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

run "machine" {
  command = plan

  assert {
    condition = [
      aws_lightsail_instance.gateway.name,
      aws_lightsail_instance.gateway.blueprint_id,
      aws_lightsail_instance.gateway.bundle_id,
      aws_lightsail_instance.gateway.availability_zone,
      aws_lightsail_instance.gateway.ip_address_type,
    ] == ["openclaw-main-0a1b2c3d", "amazon_linux_2023", "medium_3_0", "us-west-2a", "ipv4"]
    error_message = "Amazon Linux 2023 on medium_3_0, reached by IPv4 alone"
  }

  # Names are one space on Lightsail, whatever they name.
  assert {
    condition = length(distinct([
      aws_lightsail_instance.gateway.name, aws_lightsail_static_ip.gateway.name, aws_lightsail_key_pair.gateway.name,
    ])) == 3
    error_message = "three names"
  }

  assert {
    condition = alltrue([
      for it in [aws_lightsail_instance.gateway.tags_all, aws_lightsail_key_pair.gateway.tags_all] : it == tomap({
        "Name"                           = "openclaw-main-0a1b2c3d"
        "openclaw-pipeline:installation" = "inst-1"
        "openclaw-pipeline:deployment"   = "depl-2"
        "openclaw-pipeline:name"         = "main"
        "openclaw-pipeline:operation"    = "oper-3"
      })
    ])
    error_message = "what can carry tags carries the same five"
  }
}

run "another_place" {
  command = plan

  variables {
    suffix            = ""
    availability_zone = "us-west-2c"
  }

  assert {
    condition     = output.resource_name == "openclaw-main-${substr(sha256("123456789012/us-west-2/main"), 0, 8)}"
    error_message = "a hash of account, region and name"
  }

  assert {
    condition     = aws_lightsail_instance.gateway.availability_zone == "us-west-2c"
    error_message = "the zone that was named"
  }
}

# ----------------------------------------------------------------------------- who gets in

run "firewall" {
  command = plan

  assert {
    condition = toset([
      for it in aws_lightsail_instance_public_ports.gateway.port_info : "${join(",", it.cidrs)} ${it.from_port}-${it.to_port} ${it.protocol}"
    ]) == toset(["203.0.113.7/32 22-22 tcp", "0.0.0.0/0 18789-18789 tcp"])
    error_message = "SSH from the named address, the gateway from everywhere, and nothing else"
  }
}

run "closed" {
  command = plan

  variables {
    gateway_cidrs = []
  }

  assert {
    condition     = [for it in aws_lightsail_instance_public_ports.gateway.port_info : it.from_port] == [22]
    error_message = "no range closes the gateway's port: with an empty one Lightsail would open it"
  }
}

run "server" {
  command = plan

  variables {
    server       = true
    server_cidrs = ["198.51.100.0/24"]
    gateway_port = 8443
  }

  assert {
    condition = toset([
      for it in aws_lightsail_instance_public_ports.gateway.port_info : "${join(",", it.cidrs)} ${it.from_port}-${it.to_port} ${it.protocol}"
    ]) == toset(["203.0.113.7/32 22-22 tcp", "0.0.0.0/0 8443-8443 tcp", "198.51.100.0/24 4000-4000 tcp"])
    error_message = "4000 as well"
  }
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
