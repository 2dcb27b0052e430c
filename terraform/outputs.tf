output "name" {
  description = "The cluster's name as it was given."
  value       = var.name
}

output "region" {
  description = "The region that it is in."
  value       = var.region
}

output "resource_name" {
  description = "The cluster's name in AWS, and what the names of everything else begin with: unique in the account."
  value       = local.resource_name
}

output "cluster_arn" {
  description = "The cluster."
  value       = aws_eks_cluster.gateways.arn
}

output "cluster_version" {
  description = "The version of Kubernetes that it runs."
  value       = aws_eks_cluster.gateways.version
}

output "endpoint" {
  description = "Where its API is."
  value       = aws_eks_cluster.gateways.endpoint
  # Without a node nothing can be placed, and without the driver no volume be made.
  depends_on = [aws_eks_node_group.gateways, aws_eks_addon.volumes, aws_eks_access_policy_association.admin]
}

output "certificate_authority" {
  description = "The authority of its API's certificate, as PEM in base64."
  value       = aws_eks_cluster.gateways.certificate_authority[0].data
}

output "vpc_id" {
  description = "The network."
  value       = aws_vpc.cluster.id
}

output "kubeconfig_command" {
  description = "Makes kubectl know the cluster, with AWS's own command line."
  value       = "aws eks update-kubeconfig --region ${var.region} --name ${aws_eks_cluster.gateways.name}"
}
