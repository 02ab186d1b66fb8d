package site

import data.lib

# METADATA
# title: Every field is there
# custom:
#   code: input_incomplete
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("input_incomplete", "contract", path, {}) if some path in missing

missing contains array.concat(path, [key]) if {
	some path, kind in objects
	some key in (keys[kind] - object.keys(object.get(input, path, {})))
}

missing contains array.concat(path, [key]) if {
	input.image
	some path, kind in image_objects
	some key in (keys[kind] - object.keys(object.get(input, path, {})))
}

missing contains array.concat(path, [i, key]) if {
	some path, kind in lists
	some i, entry in object.get(input, path, [])
	some key in (keys[kind] - object.keys(entry))
}

# METADATA
# title: The input has a form that these rules read
# custom:
#   code: input_schema
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("input_schema", "contract", ["schema"], {}) if not input.schema == "valico-policy-input/v1"

# METADATA
# title: The moment is one that these rules know
# custom:
#   code: moment_unknown
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("moment_unknown", "contract", ["moment"], {}) if not moment

# METADATA
# title: The time of the decision can be read
# custom:
#   code: now_malformed
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("now_malformed", "contract", ["now"], {}) if not lib.now

# METADATA
# title: No image is examined before there is one
# custom:
#   code: image_early
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("image_early", "contract", ["image"], {}) if {
	input.image
	not lib.clearance
}

moment if input.moment in {"admission", "clearance"}

objects := {
	[]: "input",
	["budget"]: "budget",
	["job"]: "job",
	["job", "image"]: "spec",
	["job", "purpose"]: "purpose",
	["job", "resume"]: "resume",
	["job", "resources"]: "resources",
	["permits", 0]: "permit",
	["permits", 0, "document"]: "document",
	["permits", 0, "document", "access_period"]: "period",
	["permits", 0, "document", "document"]: "decision",
	["permits", 0, "document", "execution"]: "execution",
	["permits", 0, "document", "outputs"]: "outputs",
	["permits", 0, "document", "spe"]: "environment",
	["site"]: "site",
	["submitter"]: "submitter",
}

image_objects := {
	["image"]: "image",
	["image", "config"]: "config",
}

lists := {
	["image", "config", "env"]: "variable",
	["image", "layers"]: "layer",
	["job", "datasets"]: "use",
	["job", "image", "env"]: "variable",
	["job", "image", "layers"]: "layer",
	["job", "outputs"]: "output",
	["permits", 0, "document", "conditions"]: "condition",
	["permits", 0, "document", "datasets"]: "granted",
	["permits", 0, "document", "persons"]: "person",
	["permits", 0, "document", "purposes"]: "covered",
	["permits", 0, "document", "spe", "software_components"]: "component",
	["site", "datasets"]: "registered",
	["site", "gpus"]: "gpu",
}

# What decides must be there. Fields that only describe are left out; they are
# listed, with a reason each, in fields_test.go.
keys := {
	"budget": {"access_mode", "allocation", "available", "frozen", "gpu_seconds", "granted", "max_gpus", "max_jobs", "max_wall_seconds", "needed", "open_gpus", "open_jobs", "valid_from", "valid_until", "weight"},
	"component": {"digest"},
	"condition": {"id", "text"},
	"config": {"architecture", "args_escaped", "cmd", "diff_ids", "entrypoint", "env", "exposed_ports", "labels", "os", "os_features", "os_version", "stop_signal", "user", "variant", "volumes", "workdir"},
	"covered": {"code"},
	"decision": {"sha256"},
	"document": {"access_period", "datasets", "document", "execution", "id", "legal_regime", "outputs", "permitted_activities", "persons", "prohibited_uses_acknowledged", "purposes", "schema", "spe", "status", "version"},
	"environment": {"gpu_hours", "max_gpus", "sites", "software_components"},
	"execution": {"network", "own_code", "telemetry"},
	"gpu": {"name", "per_node"},
	"granted": {"access_format", "categories", "format", "holder", "id", "source_country"},
	"image": {"base", "config", "digest", "layers", "signed", "signer_key"},
	"input": {"budget", "job", "moment", "now", "permits", "schema", "segment", "site", "submitter"},
	"job": {"activity", "datasets", "image", "network", "outputs", "permit", "priority", "purpose", "resources", "resume", "site", "telemetry"},
	"layer": {"class", "diff_id", "digest", "media_type", "size_bytes"},
	"output": {"path", "type"},
	"outputs": {"allowed_types"},
	"period": {"end", "start"},
	"permit": {"digest", "document", "gpu_seconds_used", "in_scope", "issuer_key", "latest", "status", "status_age_seconds", "status_max_age_seconds", "verified"},
	"person": {"from", "id", "until"},
	"purpose": {"code", "sub"},
	"registered": {"categories", "country", "digest", "format", "holder", "puri", "synthetic", "version"},
	"resume": {"before_seconds", "max_segments", "signal"},
	"resources": {"cpus_per_node", "gpu_type", "gpus_per_node", "memory_mib", "nodes", "walltime_seconds"},
	"site": {"account", "airlock", "assurance", "cpus_per_node", "datasets", "fabric_isolated", "gpus", "id", "isolation", "kill_margin_seconds", "max_nodes", "max_wall_seconds", "memory_mib", "mfa", "name", "quarantine", "scheduler", "telemetry_budget"},
	"spec": {"base", "command", "env", "layers", "user", "workdir"},
	"submitter": {"id", "kind", "method", "mfa"},
	"use": {"mount", "puri", "version"},
	"variable": {"name", "value"},
}
