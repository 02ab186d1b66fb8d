package site

import data.lib

# METADATA
# title: The job asks for this site or for any
# custom:
#   code: site_other
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("site_other", "contract", ["job", "site"], {"site": lib.value(["site", "name"])}) if {
	not asked_for
}

asked_for if input.job.site in {"", input.site.id, input.site.name}

# METADATA
# title: The person has an account at the site
# custom:
#   code: site_no_account
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("site_no_account", "contract", ["site", "account"], {"person": lib.value(["submitter", "id"]), "site": lib.value(["site", "name"])}) if {
	not account
}

account if {
	is_string(input.site.account)
	input.site.account != ""
}

# METADATA
# title: What the site enforces is known
# custom:
#   code: assurance_unknown
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("assurance_unknown", "contract", ["site", "assurance"], {}) if {
	not assurance_known
}

# METADATA
# title: How the site shuts a workload in is known
# custom:
#   code: isolation_unknown
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("isolation_unknown", "contract", ["site", "isolation"], {}) if {
	not isolation_known
}

assurance_known if input.site.assurance in {"advisory", "enforced"}

isolation_known if input.site.isolation in {"none", "userns"}
