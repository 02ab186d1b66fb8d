package site

import data.lib

# METADATA
# title: Resources are whole positive amounts
# custom:
#   code: resources_malformed
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("resources_malformed", "contract", ["job", "resources", field], {}) if {
	some field in ["cpus_per_node", "gpus_per_node", "memory_mib", "nodes", "walltime_seconds"]
	not amount(field)
}

amount("gpus_per_node") if lib.at_most(0, input.job.resources.gpus_per_node)

amount(field) if {
	field != "gpus_per_node"
	lib.at_most(1, input.job.resources[field])
}

# METADATA
# title: The site has enough nodes
# custom:
#   code: nodes_over_site
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("nodes_over_site", "contract", ["job", "resources", "nodes"], {"allowed": lib.value(["site", "max_nodes"])}) if {
	not nodes_there
}

# METADATA
# title: The site has enough CPUs
# custom:
#   code: cpus_over_site
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("cpus_over_site", "contract", ["job", "resources", "cpus_per_node"], {"allowed": lib.value(["site", "cpus_per_node"])}) if {
	not cpus_there
}

# METADATA
# title: The site has enough memory
# custom:
#   code: memory_over_site
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("memory_over_site", "contract", ["job", "resources", "memory_mib"], {"allowed": lib.value(["site", "memory_mib"])}) if {
	not memory_there
}

# METADATA
# title: The site has enough time
# custom:
#   code: walltime_over_site
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("walltime_over_site", "contract", ["job", "resources", "walltime_seconds"], {"allowed": lib.value(["site", "max_wall_seconds"])}) if {
	not walltime_there
}

# METADATA
# title: The site has this type of GPU
# custom:
#   code: gpu_type_unknown
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("gpu_type_unknown", "contract", ["job", "resources", "gpu_type"], {"allowed": lib.column(["site", "gpus"], "name")}) if {
	not gpu_type_known
}

gpu_type_known if input.job.resources.gpu_type == ""

gpu_type_known if {
	some i, _ in input.site.gpus
	input.site.gpus[i].name == input.job.resources.gpu_type
}

# METADATA
# title: A node has as many GPUs of that type
# custom:
#   code: gpus_over_site
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("gpus_over_site", "contract", ["job", "resources", "gpus_per_node"], {"type": lib.value(["job", "resources", "gpu_type"]), "site": lib.value(["site", "name"])}) if {
	gpu_type_known
	not gpus_there
}

gpus_there if input.job.resources.gpus_per_node == 0

gpus_there if {
	some i, _ in input.site.gpus
	input.job.resources.gpu_type in {"", input.site.gpus[i].name}
	lib.at_most(input.job.resources.gpus_per_node, input.site.gpus[i].per_node)
}

# METADATA
# title: The project has an allocation at the site
# custom:
#   code: allocation_missing
#   article: 67(2)(i)
#   valid_from: "2026-11-01"
deny contains lib.reason("allocation_missing", "contract", ["budget", "allocation"], {"site": lib.value(["site", "name"])}) if {
	not allocation
}

allocation if {
	is_string(input.budget.allocation)
	input.budget.allocation != ""
}

# METADATA
# title: The allocation is valid now
# custom:
#   code: allocation_not_valid
#   article: 67(2)(i)
#   valid_from: "2026-11-01"
deny contains lib.reason("allocation_not_valid", "contract", ["budget", "valid_until"], {"from": lib.value(["budget", "valid_from"]), "now": lib.value(["now"])}) if {
	allocation
	not allocation_valid
}

allocation_valid if {
	lib.now >= time.parse_rfc3339_ns(input.budget.valid_from)
	lib.now < time.parse_rfc3339_ns(input.budget.valid_until)
}

# METADATA
# title: The allocation holds what the job reserves
# custom:
#   code: budget_exceeded
#   article: 67(2)(i)
#   valid_from: "2026-11-01"
deny contains lib.reason("budget_exceeded", "contract", ["budget", "needed"], {"available": lib.value(["budget", "available"]), "granted": lib.value(["budget", "granted"])}) if {
	allocation
	not budget_holds
}

# An admitted job has its place: terms that an operator changed since are for
# the jobs that come after it. This and the next three are asked at admission.
# METADATA
# title: The allocation is not frozen
# custom:
#   code: allocation_frozen
#   article: 67(2)(i)
#   valid_from: "2026-11-01"
deny contains lib.reason("allocation_frozen", "contract", ["budget", "frozen"], {"allocation": lib.value(["budget", "allocation"])}) if {
	allocation
	not lib.clearance
	not input.budget.frozen == false
}

# METADATA
# title: The GPUs of the type cost what the allocation says
# custom:
#   code: weight_malformed
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("weight_malformed", "contract", ["budget", "weight"], {}) if {
	not weighted
}

weighted if lib.at_most(1, input.budget.weight)

# METADATA
# title: No more GPUs at once than the allocation gives
# custom:
#   code: allocation_gpus_in_use
#   article: 67(2)(i)
#   valid_from: "2026-11-01"
deny contains lib.reason("allocation_gpus_in_use", "contract", ["budget", "open_gpus"], {"needed": lib.value(["job", "resources", "gpus_per_node"]), "nodes": lib.value(["job", "resources", "nodes"]), "allowed": lib.value(["budget", "max_gpus"])}) if {
	allocation
	not lib.clearance
	not gpus_free
}

# Zero sets no limit, here and below.
gpus_free if input.budget.max_gpus == 0

gpus_free if lib.gpus == 0

gpus_free if lib.at_most(input.budget.open_gpus + lib.gpus, input.budget.max_gpus)

# METADATA
# title: No more jobs at once than the allocation takes
# custom:
#   code: allocation_jobs_in_use
#   article: 67(2)(i)
#   valid_from: "2026-11-01"
deny contains lib.reason("allocation_jobs_in_use", "contract", ["budget", "open_jobs"], {"allowed": lib.value(["budget", "max_jobs"])}) if {
	allocation
	not lib.clearance
	not job_fits
}

job_fits if input.budget.max_jobs == 0

job_fits if lib.at_most(input.budget.open_jobs + 1, input.budget.max_jobs)

# METADATA
# title: No more time for one job than the allocation gives
# custom:
#   code: walltime_over_allocation
#   article: 67(2)(i)
#   valid_from: "2026-11-01"
deny contains lib.reason("walltime_over_allocation", "contract", ["job", "resources", "walltime_seconds"], {"allowed": lib.value(["budget", "max_wall_seconds"])}) if {
	allocation
	not lib.clearance
	not walltime_given
}

walltime_given if input.budget.max_wall_seconds == 0

walltime_given if lib.at_most(input.job.resources.walltime_seconds, input.budget.max_wall_seconds)

nodes_there if lib.at_most(input.job.resources.nodes, input.site.max_nodes)

cpus_there if lib.at_most(input.job.resources.cpus_per_node, input.site.cpus_per_node)

memory_there if lib.at_most(input.job.resources.memory_mib, input.site.memory_mib)

walltime_there if lib.at_most(input.job.resources.walltime_seconds, input.site.max_wall_seconds)

budget_holds if lib.at_most(lib.charge, input.budget.available * 1000)
