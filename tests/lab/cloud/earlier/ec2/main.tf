# A machine as an earlier version of the product may have made one: other names, rules within the
# group, the address bound by itself, and SSH open to everybody.

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

data "aws_ssm_parameter" "image" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

resource "terraform_data" "note" {
  input = var.name
}

resource "aws_key_pair" "openclaw" {
  key_name   = "openclaw-${var.name}"
  public_key = var.public_key
}

resource "aws_security_group" "openclaw" {
  name        = "openclaw-${var.name}"
  description = "OpenClaw"

  dynamic "ingress" {
    for_each = [22, 18789, 4000]

    content {
      from_port   = ingress.value
      to_port     = ingress.value
      protocol    = "tcp"
      cidr_blocks = ["0.0.0.0/0"]
    }
  }

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_instance" "openclaw" {
  count = 1

  ami                    = data.aws_ssm_parameter.image.insecure_value
  instance_type          = "t3.small"
  key_name               = aws_key_pair.openclaw.key_name
  vpc_security_group_ids = [aws_security_group.openclaw.id]
  user_data              = var.user_data
  tags                   = { Name = "openclaw-${var.name}" }

  # The lab's image has no disk of its own to start from.
  root_block_device {
    volume_size = 20
  }
}

resource "aws_eip" "openclaw" {
  domain   = "vpc"
  instance = aws_instance.openclaw[0].id
}

output "address" {
  value = aws_eip.openclaw.public_ip
}
