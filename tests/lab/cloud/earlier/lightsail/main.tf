# What an earlier version had made of Lightsail: a machine as `adopt` finds one.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100"
    }
  }
}

variable "name" {
  type = string
}

variable "public_key" {
  type = string
}

variable "user_data" {
  type = string
}

variable "ssh_from" {
  type = string
}

provider "aws" {
  default_tags {
    tags = { "lab:deployment" = var.name }
  }
}

data "aws_region" "here" {}

resource "aws_lightsail_key_pair" "machine" {
  name       = var.name
  public_key = var.public_key
}

resource "aws_lightsail_instance" "machine" {
  name              = "${var.name}-machine"
  availability_zone = "${data.aws_region.here.name}a"
  blueprint_id      = "amazon_linux_2023"
  bundle_id         = "medium_3_0"
  key_pair_name     = aws_lightsail_key_pair.machine.name
  user_data         = var.user_data
  ip_address_type   = "ipv4"

  lifecycle {
    ignore_changes = [user_data]
  }
}

resource "aws_lightsail_static_ip" "machine" {
  name = "${var.name}-address"
}

resource "aws_lightsail_static_ip_attachment" "machine" {
  static_ip_name = aws_lightsail_static_ip.machine.name
  instance_name  = aws_lightsail_instance.machine.name
}

resource "aws_lightsail_instance_public_ports" "machine" {
  instance_name = aws_lightsail_instance.machine.name

  port_info {
    protocol  = "tcp"
    from_port = 22
    to_port   = 22
    cidrs     = [var.ssh_from]
  }

  port_info {
    protocol  = "tcp"
    from_port = 18789
    to_port   = 18789
    cidrs     = ["0.0.0.0/0"]
  }
}

output "address" {
  value = aws_lightsail_static_ip.machine.ip_address
}

output "instance" {
  value = aws_lightsail_instance.machine.name
}
