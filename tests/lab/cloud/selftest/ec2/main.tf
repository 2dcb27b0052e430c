# What the lab's own test makes of EC2: a machine as a product's module would, with
# everything that such a module asks the API for.

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

variable "instance_type" {
  type    = string
  default = "t3.medium"
}

variable "architecture" {
  type    = string
  default = "x86_64"
}

provider "aws" {
  # By itself it tries 25 times, which takes minutes where there is no room.
  max_retries = 3

  default_tags {
    tags = { "lab:deployment" = var.name }
  }
}

data "aws_ssm_parameter" "image" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${var.architecture}"
}

data "aws_ami" "image" {
  owners = ["amazon"]
  filter {
    name   = "image-id"
    values = [data.aws_ssm_parameter.image.insecure_value]
  }
  filter {
    name   = "architecture"
    values = [var.architecture]
  }
}

data "aws_vpc" "default" {
  default = true
}

# Not every zone has every size.
data "aws_ec2_instance_type_offerings" "machine" {
  location_type = "availability-zone"
  filter {
    name   = "instance-type"
    values = [var.instance_type]
  }
}

data "aws_subnets" "default" {
  filter {
    name   = "availability-zone"
    values = data.aws_ec2_instance_type_offerings.machine.locations
  }
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
  filter {
    name   = "default-for-az"
    values = ["true"]
  }
}

resource "aws_key_pair" "machine" {
  key_name   = var.name
  public_key = var.public_key
}

resource "aws_security_group" "machine" {
  name   = var.name
  vpc_id = data.aws_vpc.default.id
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  security_group_id = aws_security_group.machine.id
  cidr_ipv4         = var.ssh_from
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
}

resource "aws_vpc_security_group_ingress_rule" "gateway" {
  security_group_id = aws_security_group.machine.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 18789
  to_port           = 18789
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.machine.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_iam_role" "machine" {
  name = var.name
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_instance_profile" "machine" {
  name = var.name
  role = aws_iam_role.machine.name
}

resource "aws_instance" "machine" {
  ami                    = data.aws_ami.image.id
  instance_type          = var.instance_type
  subnet_id              = sort(data.aws_subnets.default.ids)[0]
  key_name               = aws_key_pair.machine.key_name
  vpc_security_group_ids = [aws_security_group.machine.id]
  iam_instance_profile   = aws_iam_instance_profile.machine.name
  user_data              = var.user_data
  tags                   = { Name = var.name }
  volume_tags            = { Name = var.name, "lab:deployment" = var.name }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = 30
    encrypted   = true
  }

  lifecycle {
    ignore_changes = [ami, user_data]
  }
}

resource "aws_eip" "machine" {
  domain = "vpc"
  tags   = { Name = var.name }
}

resource "aws_eip_association" "machine" {
  allocation_id = aws_eip.machine.id
  instance_id   = aws_instance.machine.id
}

output "address" {
  value = aws_eip.machine.public_ip
}

output "instance" {
  value = aws_instance.machine.id
}

output "image" {
  value = aws_instance.machine.ami
}

output "newest" {
  value = data.aws_ssm_parameter.image.insecure_value
}
