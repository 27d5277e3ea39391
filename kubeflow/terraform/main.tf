# What a pipeline needs on Vertex AI: a bucket, the account that it runs as, a secret for the webhook, and its schedule.
#
#   terraform init
#   terraform apply -var project=MY-PROJECT -var bucket=MY-BUCKET -var config=configs/pipelines/vertex.yaml
#
# The provider has no schedule of Vertex AI Pipelines, so the command makes it (it must be on the PATH, and logged in).
# Cloud Scheduler in its place would start a run whether or not the one before has ended; Vertex AI's own doesn't.

terraform {
  required_version = ">= 1.4"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0, < 8.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

locals {
  services = ["aiplatform.googleapis.com", "dataflow.googleapis.com", "secretmanager.googleapis.com"]
  roles    = ["roles/aiplatform.user", "roles/artifactregistry.reader", "roles/logging.logWriter"]
  # Only where Beam runs on Dataflow.
  dataflow_roles = var.dataflow ? ["roles/dataflow.developer", "roles/dataflow.worker"] : []
}

resource "google_project_service" "needed" {
  for_each           = toset(local.services)
  service            = each.value
  disable_on_destroy = false
}

# Text, artifacts and pushed encoders: root, corpus.path and push.destination of the settings.
resource "google_storage_bucket" "pipeline" {
  name                        = var.bucket
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
}

# cloud.service_account of the settings.
resource "google_service_account" "pipeline" {
  account_id   = "albert-pipeline"
  display_name = "Re-pretrains ALBERT"
}

resource "google_project_iam_member" "pipeline" {
  for_each = toset(concat(local.roles, local.dataflow_roles))
  project  = var.project
  role     = each.value
  member   = google_service_account.pipeline.member
}

resource "google_storage_bucket_iam_member" "pipeline" {
  bucket = google_storage_bucket.pipeline.name
  role   = "roles/storage.objectUser"
  member = google_service_account.pipeline.member
}

# A custom job (cloud.trainer) and Dataflow's workers run as the same account.
resource "google_service_account_iam_member" "itself" {
  service_account_id = google_service_account.pipeline.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.pipeline.member
}

# cloud.notify.webhook of the settings names it. Its value stays out of Terraform's state:
#   printf %s "$WEBHOOK" | gcloud secrets versions add albert-webhook --data-file=-
resource "google_secret_manager_secret" "webhook" {
  secret_id = "albert-webhook"
  replication {
    auto {}
  }
  depends_on = [google_project_service.needed]
}

resource "google_secret_manager_secret_iam_member" "webhook" {
  secret_id = google_secret_manager_secret.webhook.id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.pipeline.member
}

# Made anew when the settings change. Its name is that of the pipeline.
resource "terraform_data" "schedule" {
  count            = var.config == null ? 0 : 1
  input            = { config = var.config, folder = abspath("${path.module}/../..") }
  triggers_replace = [filesha256("${path.module}/../../${var.config}")]

  provisioner "local-exec" {
    command     = "albert pipeline schedule create --target vertex --config \"$CONFIG\" --replace"
    working_dir = self.input.folder
    environment = {
      CONFIG = self.input.config
    }
  }

  provisioner "local-exec" {
    when    = destroy
    command     = "albert pipeline schedule delete --target vertex --config \"$CONFIG\""
    working_dir = self.input.folder
    environment = {
      CONFIG = self.input.config
    }
  }

  depends_on = [
    google_project_iam_member.pipeline,
    google_secret_manager_secret_iam_member.webhook,
    google_service_account_iam_member.itself,
    google_storage_bucket_iam_member.pipeline,
  ]
}
