package site

import data.lib

# METADATA
# title: Real data need a site that enforces
# custom:
#   code: real_data_needs.enforced_site
#   article: 73(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("real_data_needs.enforced_site", "contract", ["site", "assurance"], {"regime": lib.value(["permits", 0, "document", "legal_regime"])}) if {
	not lib.sandbox
	not enforced
}

enforced if {
	input.site.assurance == "enforced"
	input.site.isolation == "userns"
}

# METADATA
# title: Real data need sign-in with several factors
# custom:
#   code: real_data_needs.mfa
#   article: 73(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("real_data_needs.mfa", "contract", ["submitter", "mfa"], {"regime": lib.value(["permits", 0, "document", "legal_regime"])}) if {
	not lib.sandbox
	not multi_factor
}

multi_factor if {
	input.site.mfa == true
	input.submitter.mfa == true
	input.submitter.method == "oidc"
}

# METADATA
# title: Real data need a sealed quarantine
# custom:
#   code: real_data_needs.quarantine
#   article: 73(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("real_data_needs.quarantine", "contract", ["site", "quarantine"], {"regime": lib.value(["permits", 0, "document", "legal_regime"])}) if {
	not lib.sandbox
	not input.site.quarantine == true
}

# METADATA
# title: Real data need a bounded telemetry
# custom:
#   code: real_data_needs.telemetry_budget
#   article: 73(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("real_data_needs.telemetry_budget", "contract", ["site", "telemetry_budget"], {"regime": lib.value(["permits", 0, "document", "legal_regime"])}) if {
	not lib.sandbox
	not input.site.telemetry_budget == true
}

# METADATA
# title: Real data need an airlock
# custom:
#   code: real_data_needs.airlock
#   article: 73(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("real_data_needs.airlock", "contract", ["site", "airlock"], {"regime": lib.value(["permits", 0, "document", "legal_regime"])}) if {
	not lib.sandbox
	not input.site.airlock == true
}
