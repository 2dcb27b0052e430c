# What is refused before anything is asked of the cloud. Each run gives several variables a bad value,
# and each of them must refuse its own.

mock_provider "aws" {}

variables {
  public_key = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC+pswad+5fEOcUXcMKos6hc4lEfTucjZgxzi70XJsWcD//daQMqGB9KBZ+OazpgTua5lP4MsItsIVhjQjxXlqec+8aNyQ5vRsfu2zYZ4ayBpRz0OYcpgdnxt/nZ+4CsU58DroRN+6e14XwfvMtnJSfataMjONyMLT2IfTqqrM2YTVatY+OgoaBmiX5O+c1yfVU/FEuZTuhrtxERmL2yeRGDnjps8vO2lNmgAhhHKjz4RFzJO+GfHRGrvijKHJUPSFIPn1G+LW9EqEtGMIjODJEDOsf/WIsjBg1Zn2xHNikXewchFOK0UI+IQSz/1b1x3AnsBL8Om9OeVDIccioXKbz"
  ssh_cidrs  = ["203.0.113.7/32"]
}

run "refused_1" {
  command = plan

  variables {
    name              = ""
    suffix            = "abc"
    size              = "t3.medium"
    gateway_port      = 0
    gateway_cidrs     = ["everybody"]
    ssh_cidrs         = ["0.0.0.0/0"]
    server_cidrs      = ["203.0.113.7/99"]
    public_key        = "ssh-dss AAAAB3NzaC1kc3MAAACBAP1yLk"
    image             = "ghcr.io/openclaw/openclaw;reboot"
    installation      = ""
    deployment        = "a b"
    operation         = "*"
    availability_zone = "us-west-2"
  }

  expect_failures = [
    var.name,
    var.suffix,
    var.size,
    var.gateway_port,
    var.gateway_cidrs,
    var.ssh_cidrs,
    var.server_cidrs,
    var.public_key,
    var.image,
    var.installation,
    var.deployment,
    var.operation,
    var.availability_zone,
  ]
}

run "refused_2" {
  command = plan

  variables {
    name              = "Main"
    suffix            = "ABCDEF"
    gateway_port      = 65536
    gateway_cidrs     = ["203.0.113.7"]
    ssh_cidrs         = ["::/0"]
    public_key        = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTY"
    image             = "--help"
    installation      = "$${aws:username}"
    availability_zone = "eu-central-1a"
  }

  expect_failures = [
    var.name,
    var.suffix,
    var.gateway_port,
    var.gateway_cidrs,
    var.ssh_cidrs,
    var.public_key,
    var.image,
    var.installation,
    var.availability_zone,
  ]
}

run "refused_3" {
  command = plan

  variables {
    name          = "main-"
    region        = "Oregon"
    gateway_port  = 80.5
    gateway_cidrs = ["203.0.113.7/33"]
    ssh_cidrs     = ["0.0.0.0/1", "128.0.0.0/1"]
    public_key    = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC+pswad+5fEOcUXcMKos6hc4lEfTucjZgxzi70XJsWcD//daQMqGB9KBZ+OazpgTua5lP4MsItsIVhjQjxXlqec+8aNyQ5vRsfu2zYZ4ayBpRz0OYcpgdnxt/nZ+4CsU58DroRN+6e14XwfvMtnJSfataMjONyMLT2IfTqqrM2YTVatY+OgoaBmiX5O+c1yfVU/FEuZTuhrtxERmL2yeRGDnjps8vO2lNmgAhhHKjz4RFzJO+GfHRGrvijKHJUPSFIPn1G+LW9EqEtGMIjODJEDOsf/WIsjBg1Zn2xHNikXewchFOK0UI+IQSz/1b1x3AnsBL8Om9OeVDIccioXKbz\nssh-rsa AAAA"
    image         = "a b"
  }

  expect_failures = [
    var.name,
    var.region,
    var.gateway_port,
    var.gateway_cidrs,
    var.ssh_cidrs,
    var.public_key,
    var.image,
  ]
}

run "refused_4" {
  command = plan

  variables {
    name          = "-main"
    gateway_port  = 22
    gateway_cidrs = ["203.0.113.7/24"]
    ssh_cidrs     = ["203.0.113.7/32", "0.0.0.0/0"]
    public_key    = "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAFNzsAClPcSHYtLLTkTDaoCxJHRrOjCp01dNWR"
  }

  expect_failures = [
    var.name,
    var.gateway_port,
    var.gateway_cidrs,
    var.ssh_cidrs,
    var.public_key,
  ]
}

run "refused_5" {
  command = plan

  variables {
    name          = "a1234567890123456789012345678901234567890"
    gateway_port  = 4000
    gateway_cidrs = ["::/0"]
    ssh_cidrs     = ["2001:db8::/32"]
    public_key    = "-----BEGIN OPENSSH PRIVATE KEY-----"
  }

  expect_failures = [
    var.name,
    var.gateway_port,
    var.gateway_cidrs,
    var.ssh_cidrs,
    var.public_key,
  ]
}

run "refused_6" {
  command = plan

  variables {
    name       = "a'b"
    ssh_cidrs  = []
    public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAFNzsAClPcSHYtLLTkTDaoCxJHRrOjCp01dNWR"
  }

  expect_failures = [
    var.name,
    var.ssh_cidrs,
    var.public_key,
  ]
}

run "refused_7" {
  command = plan

  variables {
    name      = "a\nb"
    ssh_cidrs = ["me"]
  }

  expect_failures = [
    var.name,
    var.ssh_cidrs,
  ]
}

# Terraform shows what a variable refuses. So a secret is refused by what would use it.

run "host_key_public_half" {
  command = plan

  variables {
    host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAFNzsAClPcSHYtLLTkTDaoCxJHRrOjCp01dNWR"
  }

  expect_failures = [aws_lightsail_instance.gateway]
}

run "host_key_with_a_passphrase" {
  command = plan

  variables {
    # Nobody's.
    host_key = <<-EOT
      -----BEGIN OPENSSH PRIVATE KEY-----
      b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABCvTdK2AW
      1dO7L/W8cTq/bRAAAAEAAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIG1tZ92JAIuJ/D8c
      Q/onj1qQZxRKxrgDFKAyhBDelvttAAAAkOWa7SDB01gcW9UWG/NJZlQ4Ld9Gw4PC37lUC0
      MwVZqROY6HcvKh9ISNbaHsoRK7lVhnBAwOKECpi8Peb5kcNa6UYrkwutdaBO+Z4CZlHDwP
      y0FFr1vXTw412pdg0dr6E26RiR7kE1iSLNjaWZ9uGBD6nasUPlnnagFxIPOYvGx+nhQZMg
      XFLE5bcBdnmV7JKw==
      -----END OPENSSH PRIVATE KEY-----
    EOT
  }

  expect_failures = [aws_lightsail_instance.gateway]
}

run "host_key_command" {
  command = plan

  variables {
    host_key = "$(reboot)"
  }

  expect_failures = [aws_lightsail_instance.gateway]
}
