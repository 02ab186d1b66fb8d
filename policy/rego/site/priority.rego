package site

import data.lib

# The classes are data: data.json beside this file. The policy's operator changes
# them there, and the packs' digest changes with them.
classes := data.site.priority.classes

# A job that names no class gets the default one, and is held to it alike.
priority_class := input.job.priority if input.job.priority != ""

priority_class := data.site.priority["default"] if input.job.priority == ""

# METADATA
# title: The priority class is one of the policy's
# custom:
#   code: priority_unknown
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("priority_unknown", "contract", ["job", "priority"], {"allowed": lib.list(sort(object.keys(classes)))}) if {
	not class_known
}

class_known if classes[priority_class].weight > 0

# METADATA
# title: The job may use its priority class
# custom:
#   code: priority_not_permitted
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("priority_not_permitted", classes[priority_class].basis, ["job", "priority"], {"allowed": lib.list(sort(open_classes)), "purposes": lib.text(classes[priority_class].purposes), "access_modes": lib.text(classes[priority_class].access_modes), "purpose": lib.value(["job", "purpose", "code"]), "access_mode": lib.value(["budget", "access_mode"])}) if {
	class_known
	not priority_class in open_classes
}

open_classes contains name if {
	some name, _ in classes
	for_purpose(name)
	for_access_mode(name)
}

# That the permit grants the purpose which the job states is another rule's to
# hold: purpose_not_permitted.
for_purpose(name) if classes[name].purposes == "any"

for_purpose(name) if input.job.purpose.code in classes[name].purposes

for_access_mode(name) if classes[name].access_modes == "any"

for_access_mode(name) if input.budget.access_mode in classes[name].access_modes

# METADATA
# title: The job takes its turn by its class
obligations contains sprintf("priority:%s:%d", [priority_class, classes[priority_class].weight]) if priority_class in open_classes
