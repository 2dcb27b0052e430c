# What a later apply leaves as it is. The provider is a mock, and nothing is replaced by one: held here
# is that what would replace an instance or an address keeps the value that it was made with.

mock_provider "aws" {}

variables {
  name       = "main"
  suffix     = "0a1b2c3d"
  public_key = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC+pswad+5fEOcUXcMKos6hc4lEfTucjZgxzi70XJsWcD//daQMqGB9KBZ+OazpgTua5lP4MsItsIVhjQjxXlqec+8aNyQ5vRsfu2zYZ4ayBpRz0OYcpgdnxt/nZ+4CsU58DroRN+6e14XwfvMtnJSfataMjONyMLT2IfTqqrM2YTVatY+OgoaBmiX5O+c1yfVU/FEuZTuhrtxERmL2yeRGDnjps8vO2lNmgAhhHKjz4RFzJO+GfHRGrvijKHJUPSFIPn1G+LW9EqEtGMIjODJEDOsf/WIsjBg1Zn2xHNikXewchFOK0UI+IQSz/1b1x3AnsBL8Om9OeVDIccioXKbz"
  ssh_cidrs  = ["203.0.113.7/32"]
  operation  = "first"
}

run "made" {}

run "another_wish" {
  variables {
    name              = "other"
    suffix            = "ffffffff"
    availability_zone = "us-west-2b"
    size              = "large_3_0"
    public_key        = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC+pswad+5fEOcUXcMKos6hc4lEfTucjZgxzi70XJsWcD//daQMqGB9KBZ+OazpgTua5lP4MsItsIVhjQjxXlqec+8aNyQ5vRsfu2zYZ4ayBpRz0OYcpgdnxt/nZ+4CsU58DroRN+6e14XwfvMtnJSfataMjONyMLT2IfTqqrM2YTVatY+OgoaBmiX5O+c1yfVU/FEuZTuhrtxERmL2yeRGDnjps8vO2lNmgAhhHKjz4RFzJO+GfHRGrvijKHJUPSFIPn1G+LW9EqEtGMIjODJEDOsf/WIsjBg1Zn2xHNikXewchFOK0UI+IQSz/1b1x3AnsBL8Om9OeVDIccioXKbz another comment"
    image             = "ghcr.io/openclaw/openclaw:2099.1.1"
    gateway_port      = 8443
    operation         = "second"
  }

  assert {
    condition = [
      aws_lightsail_instance.gateway.name,
      aws_lightsail_instance.gateway.availability_zone,
      aws_lightsail_instance.gateway.bundle_id,
      aws_lightsail_instance.gateway.blueprint_id,
      aws_lightsail_instance.gateway.key_pair_name,
    ] == ["openclaw-main-0a1b2c3d", "us-west-2a", "medium_3_0", "amazon_linux_2023", "openclaw-main-0a1b2c3d-key"]
    error_message = "a name, a zone, a size or a key replaces the instance"
  }

  assert {
    condition     = !strcontains(nonsensitive(aws_lightsail_instance.gateway.user_data), base64encode("ghcr.io/openclaw/openclaw:2099.1.1"))
    error_message = "changed user data replaces the instance"
  }

  assert {
    condition     = aws_lightsail_static_ip.gateway.name == "openclaw-main-0a1b2c3d-ip"
    error_message = "another name replaces the address"
  }

  assert {
    condition     = aws_lightsail_key_pair.gateway.name == "openclaw-main-0a1b2c3d-key" && !strcontains(aws_lightsail_key_pair.gateway.public_key, "comment")
    error_message = "another key replaces the pair"
  }

  assert {
    condition     = aws_lightsail_instance.gateway.tags["openclaw-pipeline:operation"] == "first" && aws_lightsail_key_pair.gateway.tags["openclaw-pipeline:operation"] == "first"
    error_message = "a resource says another operation than the one that made it"
  }

  assert {
    condition     = contains([for it in aws_lightsail_instance_public_ports.gateway.port_info : it.from_port], 8443)
    error_message = "the firewall does not follow the port"
  }
}
