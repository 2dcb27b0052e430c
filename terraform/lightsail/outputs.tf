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
  value       = aws_lightsail_static_ip.gateway.ip_address
  # An address that leads nowhere yet is none.
  depends_on = [aws_lightsail_static_ip_attachment.gateway]
}

output "instance_id" {
  description = "The instance, by its name."
  value       = aws_lightsail_instance.gateway.name
}

output "ami_id" {
  description = "The blueprint that the instance was started from."
  value       = aws_lightsail_instance.gateway.blueprint_id
}

output "ssh_user" {
  description = "The user that SSH lets in."
  value       = "ec2-user"
}

output "ssh_command" {
  description = "Opens a shell there; with -i and your key's file where your agent does not hold it."
  value       = "ssh ec2-user@${aws_lightsail_static_ip.gateway.ip_address}"
}

output "dashboard_url" {
  description = "The gateway's page. It wants the gateway's token."
  value       = "http://${aws_lightsail_static_ip.gateway.ip_address}:${var.gateway_port}/"
}

output "server_url" {
  description = "The pipeline server's address; empty where none runs."
  value       = var.server ? "http://${aws_lightsail_static_ip.gateway.ip_address}:${local.server_port}/" : ""
}

output "key_name" {
  description = "The SSH key's name in the account."
  value       = aws_lightsail_key_pair.gateway.name
}

output "security_group_id" {
  description = "Empty: the firewall is the instance's own."
  value       = ""
}
