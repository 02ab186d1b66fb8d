package eu

import data.lib

# METADATA
# title: The site is one of the permit's secure processing environment
# custom:
#   code: site_not_in_permit
#   article: 68(10)(f)
#   valid_from: "2029-03-26"
deny contains lib.reason("site_not_in_permit", lib.ehds, ["site", "name"], {"allowed": lib.value(["permits", 0, "document", "spe", "sites"])}) if {
	not site_granted
}

# METADATA
# title: The base image is an approved component
# custom:
#   code: base_not_approved
#   article: 68(10)(f)
#   valid_from: "2029-03-26"
deny contains lib.reason("base_not_approved", lib.ehds, ["job", "image", "base"], {"allowed": lib.column(["permits", 0, "document", "spe", "software_components"], "digest")}) if {
	not base_approved
}

# METADATA
# title: Layers of dependencies and data are approved components
# custom:
#   code: layer_not_approved
#   article: 68(10)(f)
#   valid_from: "2029-03-26"
deny contains lib.reason("layer_not_approved", lib.ehds, ["job", "image", "layers", i, "digest"], {"class": lib.value(["job", "image", "layers", i, "class"])}) if {
	some i, _ in input.job.image.layers
	not input.job.image.layers[i].class == "source"
	not layer_approved(i)
}

site_granted if input.site.name in lib.document.spe.sites

base_approved if approved(input.job.image.base)

layer_approved(i) if approved(input.job.image.layers[i].digest)

own_code_granted if lib.document.execution.own_code in {"free_under_output_review", "reviewed"}

output_granted(i) if input.job.outputs[i].type in lib.document.outputs.allowed_types

approved(digest) if {
	digest != ""
	some i, _ in lib.document.spe.software_components
	lib.document.spe.software_components[i].digest == digest
}

# METADATA
# title: The permit lets people bring code of their own
# custom:
#   code: own_code_not_permitted
#   article: 68(10)(f)
#   valid_from: "2026-11-01"
deny contains lib.reason("own_code_not_permitted", "permit_condition", ["job", "image", "layers", i, "class"], {"permit": lib.value(["permits", 0, "document", "execution", "own_code"])}) if {
	not own_code_granted
	some i, _ in input.job.image.layers
	input.job.image.layers[i].class == "source"
}

# METADATA
# title: A person reads own code before it runs
# custom:
#   code: own_code_review
#   article: 68(10)(f)
#   valid_from: "2026-11-01"
review contains lib.reason("own_code_review", "permit_condition", ["job", "image", "layers", i, "class"], {"permit": lib.value(["permits", 0, "document", "execution", "own_code"])}) if {
	lib.document.execution.own_code == "reviewed"
	some i, _ in input.job.image.layers
	input.job.image.layers[i].class == "source"
}

# METADATA
# title: The network is closed unless the permit opens it among a job's nodes
# custom:
#   code: network_not_permitted
#   article: 73(1)(b)
#   valid_from: "2029-03-26"
deny contains lib.reason("network_not_permitted", lib.ehds, ["job", "network"], {"permit": lib.value(["permits", 0, "document", "execution", "network"])}) if {
	not network_permitted
}

network_permitted if {
	input.job.network == "none"
	lib.document.execution.network in {"job", "none"}
}

network_permitted if {
	input.job.network == "job"
	lib.document.execution.network == "job"
}

# METADATA
# title: No more is told while the job runs than the permit lets out
# custom:
#   code: telemetry_over_permit
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("telemetry_over_permit", "permit_condition", ["job", "telemetry"], {"permit": lib.value(["permits", 0, "document", "execution", "telemetry"])}) if {
	not telemetry_permitted
}

telemetry_permitted if lib.at_most(levels[input.job.telemetry], levels[lib.document.execution.telemetry])

levels := {"full": 2, "metrics": 1, "sealed": 0}

# METADATA
# title: The permit lets this type of output be asked for
# custom:
#   code: output_type_not_permitted
#   article: 73(2)
#   valid_from: "2029-03-26"
deny contains lib.reason("output_type_not_permitted", lib.ehds, ["job", "outputs", i, "type"], {"allowed": lib.value(["permits", 0, "document", "outputs", "allowed_types"])}) if {
	some i, _ in input.job.outputs
	not output_granted(i)
}

# METADATA
# title: Conditions for machines are ones that this version knows
# custom:
#   code: condition_unknown
#   article: 68(10)(h)
#   valid_from: "2029-03-26"
deny contains lib.reason("condition_unknown", lib.ehds, ["permits", 0, "document", "conditions", i, "rego"], {"condition": lib.value(["permits", 0, "document", "conditions", i, "id"])}) if {
	some i, _ in lib.document.conditions
	lib.document.conditions[i].rego != ""
}

# METADATA
# title: Conditions in words are for people to keep
obligations contains obligation if {
	some i, _ in lib.document.conditions
	lib.document.conditions[i].text != ""
	obligation := sprintf("permit_condition:%s", [lib.document.conditions[i].id])
}
