# ------------------------------------------------------------ the same as of the other modules

variable "name" {
  description = "The cluster's name: 1 to 30 of a-z, 0-9 and -, a letter or digit at both ends."
  type        = string
  default     = "cluster"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$", var.name))
    error_message = "A name is 1 to 30 of a-z, 0-9 and -, with a letter or digit at both ends."
  }
}

variable "suffix" {
  description = "What makes the names of the resources unique in the account: 4 to 12 of a-z and 0-9. Empty: a hash of account, region and name."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^([a-z0-9]{4,12})?$", var.suffix))
    error_message = "A suffix is 4 to 12 of a-z and 0-9, or empty."
  }
}

variable "region" {
  description = "The region that everything is made in."
  type        = string
  default     = "us-west-2"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region looks like us-west-2."
  }
}

variable "installation" {
  description = "The random id of the OpenClaw Pipeline that this belongs to, as a tag. What lacks its id, a program never changes."
  type        = string
  default     = "by-hand"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", var.installation))
    error_message = "An installation's id is 1 to 64 letters, digits, ., _ and -."
  }
}

variable "deployment" {
  description = "The cluster's id, as a tag. Empty: its name."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{0,64}$", var.deployment))
    error_message = "A deployment's id is at most 64 letters, digits, ., _ and -."
  }
}

variable "operation" {
  description = "The operation that makes a resource, as a tag. A resource keeps the one that made it."
  type        = string
  default     = "by-hand"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", var.operation))
    error_message = "An operation's id is 1 to 64 letters, digits, ., _ and -."
  }
}

# ----------------------------------------------------------------------------- the cluster's own

variable "kubernetes_version" {
  # 1.31 leaves even AWS's extended support on 2026-11-26. 1.35 is in standard support until 2027-03-27:
  # https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html
  description = "The version of Kubernetes. A cluster goes up by one minor version at a time, and never back."
  type        = string
  default     = "1.35"
  nullable    = false

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version)) && try(tonumber(split(".", var.kubernetes_version)[1]) >= 32, false)
    error_message = "A version looks like 1.35, and is 1.32 or newer: AWS supports nothing older any more."
  }
}

variable "api_cidrs" {
  description = "Who reaches the cluster's API over the internet, as IPv4 ranges, none wider than a /8: your own address, as in [\"203.0.113.7/32\"]. None ([]): only the cluster's own network."
  type        = list(string)
  nullable    = false

  validation {
    condition     = alltrue([for it in var.api_cidrs : try(tonumber(split("/", it)[1]) >= 8, true)])
    error_message = "The API is never open to the world, nor to half of it (a range is a /8 at most). Name your own address, as in [\"203.0.113.7/32\"]."
  }

  validation {
    condition     = alltrue([for it in var.api_cidrs : can(regex("^[0-9.]+/[0-9]+$", it)) && try(cidrhost(it, 0) == split("/", it)[0], false)])
    error_message = "A range looks like 203.0.113.0/24: IPv4, with its first address before the slash."
  }
}

variable "admin_arns" {
  description = "Who else administers the cluster, as ARNs of roles and users of IAM. Whoever applied last does."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for it in var.admin_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]{1,576}$", it))])
    error_message = "An ARN looks like arn:aws:iam::123456789012:role/operators: a role or a user of IAM, and no session."
  }
}

variable "availability_zones" {
  description = "The two zones that the subnets are in. None ([]): the region's first two in which EKS puts a control plane. A later change is ignored: it would replace the subnets."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = contains([0, 2], length(distinct(var.availability_zones))) && length(distinct(var.availability_zones)) == length(var.availability_zones)
    error_message = "There are two zones, each another one, or none are named."
  }

  validation {
    condition     = alltrue([for it in var.availability_zones : can(regex("^${var.region}[a-z]$", it))])
    error_message = "A zone is the region with a letter behind it, as in us-west-2a."
  }
}

variable "vpc_cidr" {
  description = "The network's range of private IPv4 addresses, a /16 to a /20. A later change is ignored: it would replace the network."
  type        = string
  default     = "10.0.0.0/16"
  nullable    = false

  validation {
    condition     = can(regex("^(10\\.|172\\.(1[6-9]|2[0-9]|3[01])\\.|192\\.168\\.)", var.vpc_cidr)) && try(cidrhost(var.vpc_cidr, 0) == split("/", var.vpc_cidr)[0], false) && try(tonumber(split("/", var.vpc_cidr)[1]) >= 16 && tonumber(split("/", var.vpc_cidr)[1]) <= 20, false)
    error_message = "A network looks like 10.0.0.0/16: private IPv4, a /16 to a /20, with its first address before the slash."
  }
}

variable "node_size" {
  description = "The nodes' instance type. A gateway needs 2 GiB of memory. A later change exchanges the nodes one by one, on the same architecture only."
  type        = string
  default     = "t3.medium"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.node_size))
    error_message = "An instance type looks like t3.medium."
  }
}

variable "node_disk_gb" {
  description = "A node's disk in GB: images, logs and what is temporary. Gateways keep their data on volumes of their own."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = floor(var.node_disk_gb) == var.node_disk_gb && var.node_disk_gb >= 20 && var.node_disk_gb <= 1000
    error_message = "A node's disk is a whole number of GB from 20 to 1000."
  }
}

variable "nodes" {
  description = "How many nodes there are at first. A later change is ignored: the number is an autoscaler's, or yours in AWS."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = floor(var.nodes) == var.nodes && var.nodes >= var.nodes_min && var.nodes <= var.nodes_max
    error_message = "The number of nodes is a whole one, from nodes_min to nodes_max."
  }
}

variable "nodes_min" {
  description = "How many nodes there are at least."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = floor(var.nodes_min) == var.nodes_min && var.nodes_min >= 0
    error_message = "The least number of nodes is a whole one, 0 or more."
  }
}

variable "nodes_max" {
  description = "How many nodes there are at most."
  type        = number
  default     = 3
  nullable    = false

  validation {
    condition     = floor(var.nodes_max) == var.nodes_max && var.nodes_max >= 1 && var.nodes_max <= 100
    error_message = "The greatest number of nodes is a whole one from 1 to 100."
  }
}
