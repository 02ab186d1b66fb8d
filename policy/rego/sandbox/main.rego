# METADATA
# title: Synthetic data only, before any permit for real data
package sandbox

import data.lib

# METADATA
# title: The decision of this pack
# entrypoint: true
decision := lib.decision(deny, set(), obligations)

# METADATA
# title: The site's registry flags each dataset synthetic
# custom:
#   code: sandbox_dataset_not_synthetic
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("sandbox_dataset_not_synthetic", "contract", ["job", "datasets", i, "puri"], {"site": lib.value(["site", "name"])}) if {
	lib.sandbox
	some i, _ in input.job.datasets
	some j in lib.entries(i)
	not input.site.datasets[j].synthetic == true
}

# METADATA
# title: The permit grants each dataset as synthetic
# custom:
#   code: sandbox_format_not_synthetic
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("sandbox_format_not_synthetic", "contract", ["job", "datasets", i, "puri"], {}) if {
	lib.sandbox
	some i, _ in input.job.datasets
	some k in lib.grants(i)
	not lib.document.datasets[k].access_format == "SYNTHETIC"
}

# METADATA
# title: Outputs of synthetic data say so
obligations contains "outputs_marked_sandbox" if lib.sandbox

# METADATA
# title: Nothing shuts the workload in; its output says so
obligations contains "isolation_none" if {
	lib.sandbox
	input.site.isolation == "none"
}
