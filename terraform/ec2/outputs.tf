output "name" {
  description = "The deployment's name."
  value       = var.name
}

output "region" {
  description = "The region that it is in."
  value       = var.region
}

output "resource_name" {
  description = "The name of the resources, unique in the account."
  value       = local.resource_name
}

output "public_ip" {
  description = "The address, which stays for as long as the deployment."
  value       = aws_eip.gateway.public_ip
  # An address that leads nowhere yet is none.
  depends_on = [aws_eip_association.gateway]
}

output "instance_id" {
  description = "The instance."
  value       = aws_instance.gateway.id
}

output "ami_id" {
  description = "The image that the instance was started from."
  value       = aws_instance.gateway.ami
}

output "ssh_user" {
  description = "The user that SSH lets in."
  value       = "ec2-user"
}

output "ssh_command" {
  description = "Opens a shell there; with -i and your key's file where your agent does not hold it."
  value       = "ssh ec2-user@${aws_eip.gateway.public_ip}"
}

output "dashboard_url" {
  description = "The gateway's page. It wants the gateway's token."
  value       = "http://${aws_eip.gateway.public_ip}:${var.gateway_port}/"
}

output "server_url" {
  description = "The pipeline server's address; empty where none runs."
  value       = var.server ? "http://${aws_eip.gateway.public_ip}:${local.server_port}/" : ""
}

output "key_name" {
  description = "The SSH key's name in the account."
  value       = aws_key_pair.gateway.key_name
}

output "security_group_id" {
  description = "The firewall."
  value       = aws_security_group.gateway.id
}
