# What the pipeline server's machine may do in the account: a role instead of copied credentials,
# and only where `server` is true.
#
# It may look at everything in its regions. It may make only what carries its installation's tag from
# the first moment, of the sizes that are listed, and change only what carries that tag already. It
# cannot put the tag on what exists, nor take it off.

data "aws_partition" "current" {}

locals {
  server_count = var.server ? 1 : 0

  account = data.aws_caller_identity.current.account_id
  arn     = "arn:${data.aws_partition.current.partition}"
  ec2     = "${local.arn}:ec2:*:${local.account}"

  server_tag     = "openclaw-pipeline:installation"
  server_tagged  = coalesce(var.server_installation, var.installation)
  server_regions = length(var.server_regions) > 0 ? var.server_regions : [var.region]

  # What a call makes, each with tags from the first moment. A statement for each: crossed with each
  # other's types, the tag of a rule would open any group.
  server_makes = {
    RunInstances                  = "volume"
    AllocateAddress               = "elastic-ip"
    CreateSecurityGroup           = "security-group"
    ImportKeyPair                 = "key-pair"
    AuthorizeSecurityGroupIngress = "security-group-rule"
    AuthorizeSecurityGroupEgress  = "security-group-rule"
  }

  server_is_tagged = "aws:ResourceTag/${local.server_tag}"
  server_will_be   = "aws:RequestTag/${local.server_tag}"
}

data "aws_iam_policy_document" "server_trust" {
  count = local.server_count

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "server" {
  count = local.server_count

  # Reading cannot be bound to tags.
  statement {
    sid = "Look"
    actions = [
      "ec2:DescribeAddresses",
      "ec2:DescribeAddressesAttribute",
      "ec2:DescribeImages",
      "ec2:DescribeInstanceCreditSpecifications",
      "ec2:DescribeInstanceTypeOfferings",
      "ec2:DescribeInstanceTypes",
      "ec2:DescribeInstances",
      "ec2:DescribeKeyPairs",
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeRouteTables",
      "ec2:DescribeSecurityGroupRules",
      "ec2:DescribeSecurityGroups",
      "ec2:DescribeSubnets",
      "ec2:DescribeTags",
      "ec2:DescribeVolumes",
      "ec2:DescribeVolumesModifications",
      "ec2:DescribeVpcAttribute",
      "ec2:DescribeVpcs",
      "servicequotas:GetAWSDefaultServiceQuota",
      "servicequotas:GetServiceQuota",
    ]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = local.server_regions
    }
  }

  # Asked in a region that every account has: the one that is looked for may not exist.
  statement {
    sid       = "FindTheRegion"
    actions   = ["ec2:DescribeRegions"]
    resources = ["*"]
  }

  statement {
    sid       = "FindTheImage"
    actions   = ["ssm:GetParameter"]
    resources = [for it in local.server_regions : "${local.arn}:ssm:${it}::parameter/aws/service/ami-amazon-linux-latest/*"]
  }

  statement {
    sid       = "LaunchTagged"
    actions   = ["ec2:RunInstances"]
    resources = ["${local.ec2}:instance/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = local.server_regions
    }

    condition {
      test     = "StringEquals"
      variable = local.server_will_be
      values   = [local.server_tagged]
    }

    condition {
      test     = "StringEquals"
      variable = "ec2:InstanceType"
      values   = var.server_sizes
    }

    condition {
      test     = "StringEquals"
      variable = "ec2:MetadataHttpTokens"
      values   = ["required"]
    }
  }

  statement {
    sid       = "LaunchFromAmazon"
    actions   = ["ec2:RunInstances"]
    resources = ["${local.arn}:ec2:*::image/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = local.server_regions
    }

    condition {
      test     = "StringEquals"
      variable = "ec2:Owner"
      values   = ["amazon"]
    }
  }

  # Both are of nobody's: the one exists already, the other goes with the instance.
  statement {
    sid       = "LaunchInto"
    actions   = ["ec2:RunInstances"]
    resources = ["${local.ec2}:subnet/*", "${local.ec2}:network-interface/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = local.server_regions
    }
  }

  statement {
    sid       = "LaunchWith"
    actions   = ["ec2:RunInstances"]
    resources = ["${local.ec2}:security-group/*", "${local.ec2}:key-pair/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = local.server_regions
    }

    condition {
      test     = "StringEquals"
      variable = local.server_is_tagged
      values   = [local.server_tagged]
    }
  }

  dynamic "statement" {
    for_each = local.server_makes

    content {
      sid       = "Make${statement.key}"
      actions   = ["ec2:${statement.key}"]
      resources = ["${local.ec2}:${statement.value}/*"]

      condition {
        test     = "StringEquals"
        variable = "aws:RequestedRegion"
        values   = local.server_regions
      }

      condition {
        test     = "StringEquals"
        variable = local.server_will_be
        values   = [local.server_tagged]
      }
    }
  }

  statement {
    sid       = "MakeInNetwork"
    actions   = ["ec2:CreateSecurityGroup"]
    resources = ["${local.ec2}:vpc/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = local.server_regions
    }
  }

  statement {
    sid       = "TagWhatIsBeingMade"
    actions   = ["ec2:CreateTags"]
    resources = [for it in distinct(concat(["instance"], values(local.server_makes))) : "${local.ec2}:${it}/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = local.server_regions
    }

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = keys(local.server_makes)
    }

    condition {
      test     = "StringEquals"
      variable = local.server_will_be
      values   = [local.server_tagged]
    }
  }

  statement {
    sid       = "TagOwnWithOtherTags"
    actions   = ["ec2:CreateTags", "ec2:DeleteTags"]
    resources = ["${local.ec2}:*/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = local.server_regions
    }

    condition {
      test     = "StringEquals"
      variable = local.server_is_tagged
      values   = [local.server_tagged]
    }

    # Without the first, a call that names no key at all would take off every tag.
    condition {
      test     = "Null"
      variable = "aws:TagKeys"
      values   = ["false"]
    }

    condition {
      test     = "ForAllValues:StringNotEquals"
      variable = "aws:TagKeys"
      values   = [local.server_tag]
    }
  }

  statement {
    sid = "ChangeOwn"
    actions = [
      "ec2:AssociateAddress",
      "ec2:AuthorizeSecurityGroupEgress",
      "ec2:AuthorizeSecurityGroupIngress",
      "ec2:DeleteKeyPair",
      "ec2:DeleteSecurityGroup",
      # It shows the user data, in which others may keep a secret.
      "ec2:DescribeInstanceAttribute",
      "ec2:DisassociateAddress",
      "ec2:GetConsoleOutput",
      "ec2:ModifySecurityGroupRules",
      "ec2:ModifyVolume",
      "ec2:RebootInstances",
      "ec2:ReleaseAddress",
      "ec2:RevokeSecurityGroupEgress",
      "ec2:RevokeSecurityGroupIngress",
      "ec2:StartInstances",
      "ec2:StopInstances",
      "ec2:TerminateInstances",
    ]
    resources = ["${local.ec2}:*/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = local.server_regions
    }

    condition {
      test     = "StringEquals"
      variable = local.server_is_tagged
      values   = [local.server_tagged]
    }
  }

  # Its groups, say. Another size is one that could be launched, too.
  statement {
    sid       = "ModifyOwn"
    actions   = ["ec2:ModifyInstanceAttribute"]
    resources = ["${local.ec2}:instance/*", "${local.ec2}:security-group/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestedRegion"
      values   = local.server_regions
    }

    condition {
      test     = "StringEquals"
      variable = local.server_is_tagged
      values   = [local.server_tagged]
    }

    condition {
      test     = "StringEqualsIfExists"
      variable = "ec2:Attribute/InstanceType"
      values   = var.server_sizes
    }
  }

  dynamic "statement" {
    for_each = length(var.server_pass_roles) > 0 ? [var.server_pass_roles] : []

    content {
      sid       = "PassNamedRoles"
      actions   = ["iam:PassRole"]
      resources = [for it in statement.value : "${local.arn}:iam::${local.account}:role/${it}"]

      condition {
        test     = "StringEquals"
        variable = "iam:PassedToService"
        values   = ["ec2.amazonaws.com", "eks.amazonaws.com"]
      }
    }
  }

  dynamic "statement" {
    for_each = var.server_lightsail ? [local.server_regions] : []

    content {
      sid = "LightsailLook"
      actions = [
        "lightsail:GetBundles",
        "lightsail:GetInstance",
        "lightsail:GetInstancePortStates",
        "lightsail:GetInstances",
        "lightsail:GetKeyPair",
        "lightsail:GetKeyPairs",
        "lightsail:GetOperation",
        "lightsail:GetStaticIp",
        "lightsail:GetStaticIps",
      ]
      resources = ["*"]

      condition {
        test     = "StringEquals"
        variable = "aws:RequestedRegion"
        values   = statement.value
      }
    }
  }

  dynamic "statement" {
    for_each = var.server_lightsail ? [local.server_regions] : []

    content {
      sid       = "LightsailMakeTagged"
      actions   = ["lightsail:CreateInstances"]
      resources = ["*"]

      condition {
        test     = "StringEquals"
        variable = "aws:RequestedRegion"
        values   = statement.value
      }

      condition {
        test     = "StringEquals"
        variable = local.server_will_be
        values   = [local.server_tagged]
      }
    }
  }

  # A key pair takes no tags while it is imported. It gets them right after, and only one that is
  # nobody's can be given the installation's.
  dynamic "statement" {
    for_each = var.server_lightsail ? [local.server_regions] : []

    content {
      sid       = "LightsailImportKey"
      actions   = ["lightsail:ImportKeyPair"]
      resources = ["*"]

      condition {
        test     = "StringEquals"
        variable = "aws:RequestedRegion"
        values   = statement.value
      }
    }
  }

  dynamic "statement" {
    for_each = var.server_lightsail ? [local.server_regions] : []

    content {
      sid       = "LightsailTagKey"
      actions   = ["lightsail:TagResource"]
      resources = ["${local.arn}:lightsail:*:${local.account}:KeyPair/*"]

      condition {
        test     = "StringEquals"
        variable = "aws:RequestedRegion"
        values   = statement.value
      }

      condition {
        test     = "StringEquals"
        variable = local.server_will_be
        values   = [local.server_tagged]
      }

      condition {
        test     = "Null"
        variable = local.server_is_tagged
        values   = ["true"]
      }
    }
  }

  dynamic "statement" {
    for_each = var.server_lightsail ? [local.server_regions] : []

    content {
      sid = "LightsailChangeOwn"
      actions = [
        "lightsail:AttachStaticIp",
        "lightsail:CloseInstancePublicPorts",
        # With a key pair of its own.
        "lightsail:CreateInstances",
        "lightsail:DeleteInstance",
        "lightsail:DeleteKeyPair",
        "lightsail:PutInstancePublicPorts",
        "lightsail:RebootInstance",
        "lightsail:StartInstance",
        "lightsail:StopInstance",
      ]
      resources = ["*"]

      condition {
        test     = "StringEquals"
        variable = "aws:RequestedRegion"
        values   = statement.value
      }

      condition {
        test     = "StringEquals"
        variable = local.server_is_tagged
        values   = [local.server_tagged]
      }
    }
  }

  # Addresses carry no tag there: the region is all that can be bounded.
  dynamic "statement" {
    for_each = var.server_lightsail ? [local.server_regions] : []

    content {
      sid = "LightsailAddresses"
      actions = [
        "lightsail:AllocateStaticIp",
        "lightsail:AttachStaticIp",
        "lightsail:DetachStaticIp",
        "lightsail:ReleaseStaticIp",
      ]
      resources = ["${local.arn}:lightsail:*:${local.account}:StaticIp/*"]

      condition {
        test     = "StringEquals"
        variable = "aws:RequestedRegion"
        values   = statement.value
      }
    }
  }
}

resource "aws_iam_role" "server" {
  count = local.server_count

  name               = local.resource_name
  description        = "The pipeline server ${var.name}: changes only what carries its installation's tag"
  assume_role_policy = data.aws_iam_policy_document.server_trust[0].json
  tags               = local.tags

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}

resource "aws_iam_role_policy" "server" {
  count = local.server_count

  name   = "openclaw-pipeline"
  role   = aws_iam_role.server[0].id
  policy = data.aws_iam_policy_document.server[0].json
}

resource "aws_iam_instance_profile" "server" {
  count = local.server_count

  name = local.resource_name
  role = aws_iam_role.server[0].name
  tags = local.tags

  lifecycle {
    ignore_changes = [tags["openclaw-pipeline:operation"]]
  }
}
