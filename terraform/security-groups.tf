# Who reaches the cluster's API by its private address, beside the nodes, which EKS lets in by a group
# of its own: whoever is in the network. The public address is limited by var.api_cidrs.

resource "aws_security_group" "api" {
  name        = "${local.resource_name}-api"
  description = "Who reaches the API of the cluster ${local.resource_name} from its own network"
  vpc_id      = aws_vpc.cluster.id
  tags        = merge(local.tags, { "Name" = "${local.resource_name}-api" })

  lifecycle {
    ignore_changes = [name, description, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_vpc_security_group_ingress_rule" "api" {
  for_each = aws_subnet.private

  security_group_id = aws_security_group.api.id
  description       = "HTTPS from a private subnet"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = each.value.cidr_block
  tags              = local.tags

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}
