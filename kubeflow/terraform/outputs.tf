output "service_account" {
  description = "For cloud.service_account."
  value       = google_service_account.pipeline.email
}

output "root" {
  description = "For root; corpus.path and push.destination may lie beside it."
  value       = "gs://${google_storage_bucket.pipeline.name}/root"
}

output "webhook" {
  description = "For cloud.notify.webhook."
  value       = "${google_secret_manager_secret.webhook.id}/versions/latest"
}
