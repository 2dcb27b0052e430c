# What the server's role may do: the policy, as the real provider renders it.

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
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAFNzsAClPcSHYtLLTkTDaoCxJHRrOjCp01dNWR a key of nobody's"
  ssh_cidrs  = ["203.0.113.7/32"]

  installation = "inst-1"
  deployment   = "depl-2"
  operation    = "oper-3"
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = data.aws_ec2_instance_type.size
  values = { supported_architectures = ["i386", "x86_64"] }
}

override_data {
  target = data.aws_ssm_parameter.newest
  values = { insecure_value = "ami-0123456789abcdef0" }
}

override_data {
  target = data.aws_vpc.default
  values = { id = "vpc-0123456789abcdef0" }
}

override_data {
  target = data.aws_ec2_instance_type_offerings.zones
  values = { locations = ["us-west-2a", "us-west-2b"] }
}

override_data {
  target = data.aws_subnets.default
  values = { ids = ["subnet-0bbbbbbbbbbbbbbbb", "subnet-0aaaaaaaaaaaaaaaa"] }
}

override_data {
  target = data.aws_subnet.named
  values = { vpc_id = "vpc-0fedcba9876543210" }
}

run "a_gateway_has_none" {
  command = plan

  assert {
    condition     = length(data.aws_iam_policy_document.server) == 0
    error_message = "a gateway's machine has no role"
  }
}

run "changes_only_its_own" {
  command = plan

  variables {
    server              = true
    server_installation = "of-the-server"
  }

  # Whatever is no reading and no launch into a network must name the installation's tag, as what it
  # changes has it or as what it makes will have it.
  assert {
    condition = alltrue([
      for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement :
      contains(["Look", "FindTheRegion", "FindTheImage", "LaunchFromAmazon", "LaunchInto", "MakeInNetwork"], it.Sid)
      || try(it.Condition.StringEquals["aws:ResourceTag/openclaw-pipeline:installation"], "") == "of-the-server"
      || try(it.Condition.StringEquals["aws:RequestTag/openclaw-pipeline:installation"], "") == "of-the-server"
    ])
    error_message = "a statement changes what is not the installation's"
  }

  assert {
    condition = toset(flatten([
      for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement : it.Action
      if contains(["LaunchFromAmazon", "LaunchInto", "MakeInNetwork"], it.Sid)
    ])) == toset(["ec2:RunInstances", "ec2:CreateSecurityGroup"])
    error_message = "without a tag there is only the place to launch into"
  }

  assert {
    condition = alltrue([
      for it in flatten([
        for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement : it.Action
        if contains(["Look", "FindTheRegion", "FindTheImage"], it.Sid)
      ]) : length(regexall("^(ec2:Describe[A-Za-z]+|ssm:GetParameter|servicequotas:Get(AWSDefault)?ServiceQuota)$", it)) == 1
    ])
    error_message = "looking is looking"
  }

  assert {
    condition     = !strcontains(data.aws_iam_policy_document.server[0].json, "iam:")
    error_message = "no role is passed, and none is made"
  }

  assert {
    condition     = !strcontains(data.aws_iam_policy_document.server[0].json, "lightsail:")
    error_message = "Lightsail is to be asked for"
  }

  # Each call makes one type: crossed, the tag of a new rule would open a group that is somebody's.
  assert {
    condition = alltrue([
      for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement :
      can(tostring(it.Action)) && can(tostring(it.Resource)) if startswith(it.Sid, "Make")
    ])
    error_message = "one action and one type in each statement that makes something"
  }

  assert {
    condition = alltrue([
      for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement :
      can(it.Condition.StringEquals["ec2:CreateAction"]) || try([
        it.Condition["ForAllValues:StringNotEquals"]["aws:TagKeys"],
        it.Condition.Null["aws:TagKeys"],
      ] == ["openclaw-pipeline:installation", "false"], false)
      if contains(flatten([it.Action]), "ec2:CreateTags") || contains(flatten([it.Action]), "ec2:DeleteTags")
    ])
    error_message = "the installation's tag is set while a thing is made, and never after"
  }

  assert {
    condition = alltrue([
      for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement :
      contains(["FindTheRegion", "FindTheImage"], it.Sid) || try(it.Condition.StringEquals["aws:RequestedRegion"], "") == "us-west-2"
    ])
    error_message = "in its region alone"
  }

  assert {
    condition     = aws_instance.gateway.iam_instance_profile == "openclaw-main-0a1b2c3d" && jsondecode(aws_iam_role_policy.server[0].policy) == jsondecode(data.aws_iam_policy_document.server[0].json)
    error_message = "the machine has the role, and the role this policy"
  }

  assert {
    condition     = length(data.aws_iam_policy_document.server[0].minified_json) <= 10240
    error_message = "IAM takes a role's policy of 10240 characters at most"
  }

  assert {
    condition = [
      for it in jsondecode(data.aws_iam_policy_document.server_trust[0].json).Statement : it.Principal.Service
    ] == ["ec2.amazonaws.com"]
    error_message = "an instance takes the role, and nobody else"
  }
}

run "sizes_and_regions" {
  command = plan

  variables {
    server         = true
    server_sizes   = ["t3.small", "t3.medium"]
    server_regions = ["eu-central-1", "us-west-2"]
  }

  assert {
    condition = alltrue([
      for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement :
      toset(it.Condition.StringEquals["ec2:InstanceType"]) == toset(["t3.small", "t3.medium"])
      && it.Condition.StringEquals["ec2:MetadataHttpTokens"] == "required"
      && toset(it.Condition.StringEquals["aws:RequestedRegion"]) == toset(["eu-central-1", "us-west-2"])
      && it.Condition.StringEquals["aws:RequestTag/openclaw-pipeline:installation"] == "inst-1"
      if it.Sid == "LaunchTagged"
    ])
    error_message = "the listed types and regions, with IMDSv2"
  }

  assert {
    condition = [
      for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement : it.Sid
      if contains(flatten([it.Action]), "ec2:RunInstances") && anytrue([for to in flatten([it.Resource]) : endswith(to, ":instance/*")])
    ] == ["LaunchTagged"]
    error_message = "no other statement launches an instance"
  }
}

run "named_roles" {
  command = plan

  variables {
    server            = true
    server_pass_roles = ["openclaw-cluster", "openclaw-nodes"]
  }

  assert {
    condition = toset(flatten([
      for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement : it.Resource if contains(flatten([it.Action]), "iam:PassRole")
    ])) == toset(["arn:aws:iam::123456789012:role/openclaw-cluster", "arn:aws:iam::123456789012:role/openclaw-nodes"])
    error_message = "the named roles, and no other"
  }
}

run "lightsail" {
  command = plan

  variables {
    server           = true
    server_lightsail = true
  }

  assert {
    condition = alltrue([
      for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement :
      try(it.Condition.StringEquals["aws:ResourceTag/openclaw-pipeline:installation"], "") == "inst-1"
      || try(it.Condition.StringEquals["aws:RequestTag/openclaw-pipeline:installation"], "") == "inst-1"
      || endswith(join(" ", flatten([it.Resource])), ":StaticIp/*")
      || it.Action == "lightsail:ImportKeyPair"
      if startswith(it.Sid, "Lightsail") && it.Sid != "LightsailLook"
    ])
    error_message = "the tag, where a type has one"
  }

  assert {
    condition = alltrue([
      for it in flatten([
        for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement : it.Action if it.Sid == "LightsailLook"
      ]) : startswith(it, "lightsail:Get") && it != "lightsail:GetInstanceAccessDetails"
    ])
    error_message = "looking lets nobody in"
  }

  # A tag that can be put on any instance would open every one.
  assert {
    condition = [
      for it in jsondecode(data.aws_iam_policy_document.server[0].json).Statement :
      "${it.Resource} ${it.Condition.Null["aws:ResourceTag/openclaw-pipeline:installation"]}"
      if contains(flatten([it.Action]), "lightsail:TagResource")
    ] == ["arn:aws:lightsail:*:123456789012:KeyPair/* true"]
    error_message = "only a key pair without the tag is given it"
  }

  # The program's own tests hold what it calls against this file.
  assert {
    condition     = jsondecode(data.aws_iam_policy_document.server[0].json) == jsondecode(file("tests/server-policy.json"))
    error_message = "tests/server-policy.json is not the policy: ${data.aws_iam_policy_document.server[0].json}"
  }

  assert {
    condition     = length(data.aws_iam_policy_document.server[0].minified_json) <= 10240
    error_message = "IAM takes a role's policy of 10240 characters at most"
  }
}

run "a_role_by_pattern" {
  command = plan

  variables {
    server            = true
    server_pass_roles = ["openclaw-*"]
  }

  expect_failures = [var.server_pass_roles]
}

run "a_size_by_pattern" {
  command = plan

  variables {
    server       = true
    server_sizes = ["t3.*"]
  }

  expect_failures = [var.server_sizes]
}

run "no_size" {
  command = plan

  variables {
    server       = true
    server_sizes = []
  }

  expect_failures = [var.server_sizes]
}
