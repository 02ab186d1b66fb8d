package eu

import data.lib

# METADATA
# title: The permit covers each dataset, whole identifier and version
# custom:
#   code: dataset_not_permitted
#   article: 68(10)(a)
#   valid_from: "2029-03-26"
deny contains lib.reason("dataset_not_permitted", lib.ehds, ["job", "datasets", i, "puri"], {"version": lib.value(["job", "datasets", i, "version"]), "allowed": lib.column(["permits", 0, "document", "datasets"], "id")}) if {
	some i, _ in input.job.datasets
	not lib.permitted(i)
}

# METADATA
# title: The site holds each dataset
# custom:
#   code: dataset_not_at_site
#   article: 73(1)(d)
#   valid_from: "2026-11-01"
deny contains lib.reason("dataset_not_at_site", "contract", ["job", "datasets", i, "puri"], {"version": lib.value(["job", "datasets", i, "version"]), "site": lib.value(["site", "name"])}) if {
	some i, _ in input.job.datasets
	not lib.at_site(i)
}

# METADATA
# title: The site's registry knows the dataset's exact content
# custom:
#   code: dataset_unsealed
#   article: 73(1)(d)
#   valid_from: "2026-11-01"
deny contains lib.reason("dataset_unsealed", "contract", ["job", "datasets", i, "puri"], {"site": lib.value(["site", "name"])}) if {
	some i, _ in input.job.datasets
	some j in lib.entries(i)
	not sealed(j)
}

sealed(j) if lib.digest(input.site.datasets[j].digest)

# METADATA
# title: Permit and site agree on what the dataset is
# custom:
#   code: dataset_disagrees
#   article: 68(10)(a)
#   valid_from: "2026-11-01"
deny contains lib.reason("dataset_disagrees", "contract", ["job", "datasets", i, "puri"], {"field": field, "site": lib.value(["site", "name"])}) if {
	some i, _ in input.job.datasets
	some j in lib.entries(i)
	some k in lib.grants(i)
	some field in {"categories", "country", "format", "holder", "synthetic"}
	not agree(field, j, k)
}

agree("categories", j, k) if {
	registered := {c | some c in input.site.datasets[j].categories}
	count(registered) > 0
	registered == {c | some c in lib.document.datasets[k].categories}
}

agree("country", j, k) if input.site.datasets[j].country == lib.document.datasets[k].source_country

agree("format", j, k) if input.site.datasets[j].format == lib.document.datasets[k].format

agree("holder", j, k) if input.site.datasets[j].holder == lib.document.datasets[k].holder

agree("synthetic", j, k) if input.site.datasets[j].synthetic == synthetic[lib.document.datasets[k].access_format]

synthetic := {"ANONYMISED": false, "PSEUDONYMISED": false, "SYNTHETIC": true}

# METADATA
# title: The version asked for is one, not several
# custom:
#   code: dataset_ambiguous
#   article: 73(1)(d)
#   valid_from: "2026-11-01"
deny contains lib.reason("dataset_ambiguous", "contract", ["job", "datasets", i, "version"], {"site": lib.value(["site", "name"])}) if {
	some i, _ in input.job.datasets
	count(lib.entries(i)) > 1
}
