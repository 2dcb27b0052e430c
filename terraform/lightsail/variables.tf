# ---------------------------------------------------------------- the same in terraform/ec2

variable "name" {
  description = "The deployment's name: 1 to 40 of a-z, 0-9 and -, a letter or digit at both ends."
  type        = string
  default     = "main"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", var.name))
    error_message = "A name is 1 to 40 of a-z, 0-9 and -, with a letter or digit at both ends."
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

variable "size" {
  description = "The bundle. A later change is ignored, because Lightsail would replace the instance: take a snapshot and make another of it."
  type        = string
  default     = "medium_3_0"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+(_[a-z0-9]+)*_[0-9]+_[0-9]+$", var.size))
    error_message = "A bundle looks like medium_3_0."
  }
}

variable "public_key" {
  description = "The public half of the SSH key that is let in, one line: ssh-rsa. The private half stays where it was made. A later change is ignored: the instance reads it at its first boot only."
  type        = string
  nullable    = false

  validation {
    condition     = !strcontains(var.public_key, "PRIVATE KEY")
    error_message = "This is the private half. It belongs to you alone: give the public one (the file that ends in .pub)."
  }

  validation {
    condition     = can(regex("^ssh-rsa AAAAB3NzaC1yc2E[A-Za-z0-9+/]{300,}={0,2}( [^\\r\\n]*)?$", trimspace(var.public_key)))
    error_message = "A public key is one line that begins with ssh-rsa (of 2048 bits or more). Lightsail takes no other kind."
  }
}

variable "host_key" {
  description = "A one-time SSH host key, an unencrypted ed25519 key as ssh-keygen writes it, so that the first connection knows the machine. Over that connection the machine's own key is read and takes its place. Empty: the machine has only keys that it makes itself."
  type        = string
  default     = ""
  nullable    = false
  sensitive   = true
}

variable "image" {
  description = "The gateway's image. The machine begins to pull it while it boots; empty: it does not."
  type        = string
  default     = "ghcr.io/openclaw/openclaw:latest"
  nullable    = false

  validation {
    condition     = can(regex("^([a-z0-9][A-Za-z0-9._:/@-]{0,254})?$", var.image))
    error_message = "An image looks like ghcr.io/openclaw/openclaw:latest, or like NAME@sha256:DIGEST."
  }
}

variable "gateway_port" {
  description = "The gateway's port."
  type        = number
  default     = 18789
  nullable    = false

  validation {
    condition     = floor(var.gateway_port) == var.gateway_port && var.gateway_port >= 1 && var.gateway_port <= 65535
    error_message = "A port is a whole number from 1 to 65535."
  }

  validation {
    condition     = !contains([22, 4000], var.gateway_port)
    error_message = "22 is the port of SSH, and 4000 that of the pipeline server."
  }
}

variable "gateway_cidrs" {
  description = "Who reaches the gateway's port, as IPv4 ranges. None ([]) closes it, as behind a tunnel."
  type        = list(string)
  default     = ["0.0.0.0/0"]
  nullable    = false

  validation {
    condition     = alltrue([for it in var.gateway_cidrs : can(regex("^[0-9.]+/[0-9]+$", it)) && try(cidrhost(it, 0) == split("/", it)[0], false)])
    error_message = "A range looks like 203.0.113.0/24: IPv4, with its first address before the slash."
  }
}

variable "ssh_cidrs" {
  description = "Who reaches SSH, as IPv4 ranges, none wider than a /8: your own address, as in [\"203.0.113.7/32\"]."
  type        = list(string)
  nullable    = false

  validation {
    condition     = alltrue([for it in var.ssh_cidrs : try(tonumber(split("/", it)[1]) >= 8, true)])
    error_message = "SSH is never open to the world, nor to half of it (a range is a /8 at most). Name your own address, as in [\"203.0.113.7/32\"]."
  }

  validation {
    condition     = length(var.ssh_cidrs) > 0
    error_message = "Without a range nobody reaches SSH, and the machine cannot be set up."
  }

  validation {
    condition     = alltrue([for it in var.ssh_cidrs : can(regex("^[0-9.]+/[0-9]+$", it)) && try(cidrhost(it, 0) == split("/", it)[0], false)])
    error_message = "A range looks like 203.0.113.0/24: IPv4, with its first address before the slash."
  }
}

variable "server" {
  description = "Whether the pipeline server runs here: port 4000 is opened for server_cidrs."
  type        = bool
  default     = false
  nullable    = false
}

variable "server_cidrs" {
  description = "Who reaches the pipeline server's port 4000, as IPv4 ranges. Not given: those of ssh_cidrs."
  type        = list(string)
  default     = null

  validation {
    condition     = alltrue([for it in coalesce(var.server_cidrs, []) : can(regex("^[0-9.]+/[0-9]+$", it)) && try(cidrhost(it, 0) == split("/", it)[0], false)])
    error_message = "A range looks like 203.0.113.0/24: IPv4, with its first address before the slash."
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
  description = "The deployment's id, as a tag. Empty: its name."
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

# ----------------------------------------------------------------------------- Lightsail's own

variable "availability_zone" {
  description = "The zone of the instance. Empty: the region's a. A later change is ignored: it would replace the instance."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = var.availability_zone == "" || can(regex("^${var.region}[a-z]$", var.availability_zone))
    error_message = "A zone is the region with a letter behind it, as in us-west-2a."
  }
}
