variable "project" {
  description = "Google Cloud project: cloud.project of the settings."
  type        = string
}

variable "region" {
  description = "Of the bucket and of Vertex AI: cloud.region of the settings."
  type        = string
  default     = "us-central1"
}

variable "bucket" {
  description = "Name of the bucket that is made."
  type        = string
}

variable "config" {
  description = "The pipeline's YAML file from the checkout's root, with a section schedule. None: no schedule."
  type        = string
  default     = null
}

variable "dataflow" {
  description = "Whether the Beam components run on Dataflow (cloud.beam_args)."
  type        = bool
  default     = false
}
