# The network: in each of two zones a public subnet, where load balancers and the NAT gateway are, and
# a private one, where the nodes are.

data "aws_availability_zones" "usable" {
  state = "available"

  # Local zones and the like have no control plane.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }

  # Where EKS puts no control plane:
  # https://docs.aws.amazon.com/eks/latest/userguide/network-reqs.html
  exclude_zone_ids = ["use1-az3", "usw1-az2", "cac1-az3"]
}

locals {
  zones = length(var.availability_zones) > 0 ? var.availability_zones : slice(sort(data.aws_availability_zones.usable.names), 0, 2)

  # By their place, not by their zone: a zone that appears later moves nothing.
  places = { for index in range(2) : tostring(index) => index }
}

resource "aws_vpc" "cluster" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = local.tags

  lifecycle {
    ignore_changes = [cidr_block, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_subnet" "public" {
  for_each = local.places

  vpc_id            = aws_vpc.cluster.id
  cidr_block        = cidrsubnet(aws_vpc.cluster.cidr_block, 4, each.value)
  availability_zone = local.zones[each.value]

  tags = merge(local.tags, {
    "Name" = "${local.resource_name}-public-${each.key}"
    # Where load balancers for the internet are put.
    "kubernetes.io/role/elb"                       = "1"
    "kubernetes.io/cluster/${local.resource_name}" = "shared"
  })

  lifecycle {
    ignore_changes = [availability_zone, cidr_block, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_subnet" "private" {
  for_each = local.places

  vpc_id            = aws_vpc.cluster.id
  cidr_block        = cidrsubnet(aws_vpc.cluster.cidr_block, 4, 8 + each.value)
  availability_zone = local.zones[each.value]

  tags = merge(local.tags, {
    "Name"                                         = "${local.resource_name}-private-${each.key}"
    "kubernetes.io/role/internal-elb"              = "1"
    "kubernetes.io/cluster/${local.resource_name}" = "shared"
  })

  lifecycle {
    ignore_changes = [availability_zone, cidr_block, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_internet_gateway" "cluster" {
  vpc_id = aws_vpc.cluster.id
  tags   = local.tags

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

# One for both zones: a second one costs as much as a node, and buys only that the nodes of one zone
# reach the internet while the other zone is down.
resource "aws_eip" "nat" {
  domain = "vpc"
  tags   = merge(local.tags, { "Name" = "${local.resource_name}-nat" })

  depends_on = [aws_internet_gateway.cluster]

  lifecycle {
    ignore_changes = [domain, tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_nat_gateway" "cluster" {
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.public["0"].id
  tags          = local.tags

  depends_on = [aws_internet_gateway.cluster]

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.cluster.id
  tags   = merge(local.tags, { "Name" = "${local.resource_name}-public" })

  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.cluster.id
  }

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.cluster.id
  tags   = merge(local.tags, { "Name" = "${local.resource_name}-private" })

  route {
    cidr_block     = "0.0.0.0/0"
    nat_gateway_id = aws_nat_gateway.cluster.id
  }

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_route_table_association" "public" {
  for_each = local.places

  subnet_id      = aws_subnet.public[each.key].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table_association" "private" {
  for_each = local.places

  subnet_id      = aws_subnet.private[each.key].id
  route_table_id = aws_route_table.private.id
}
