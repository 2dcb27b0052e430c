terraform {
  # The first that locks a state in S3 without a table beside it.
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100.0, < 8.0.0"
    }
  }
}
