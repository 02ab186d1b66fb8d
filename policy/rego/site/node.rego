package site

import data.lib

# METADATA
# title: A job of several nodes runs where the scheduler starts one launcher on each
# custom:
#   code: nodes_not_supported
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("nodes_not_supported", "contract", ["job", "resources", "nodes"], {"site": lib.value(["site", "name"]), "scheduler": lib.value(["site", "scheduler"])}) if {
	not nodes_supported
}

nodes_supported if input.job.resources.nodes == 1

nodes_supported if input.site.scheduler == "slurm"

# METADATA
# title: A network among a job's nodes needs several of them
# custom:
#   code: network_needs_nodes
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("network_needs_nodes", "contract", ["job", "network"], {"nodes": lib.value(["job", "resources", "nodes"])}) if {
	not network_used
}

network_used if input.job.network == "none"

network_used if {
	input.job.network == "job"
	lib.at_most(2, input.job.resources.nodes)
}

# METADATA
# title: Real data cross a network only where the site measured that it is the job's own
# custom:
#   code: network_not_isolated
#   article: 73(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("network_not_isolated", "contract", ["site", "fabric_isolated"], {"regime": lib.value(["permits", 0, "document", "legal_regime"]), "site": lib.value(["site", "name"])}) if {
	not network_isolated
}

network_isolated if input.job.network == "none"

network_isolated if {
	lib.sandbox
	input.site.fabric_isolated in {false, true}
}

network_isolated if input.site.fabric_isolated == true
