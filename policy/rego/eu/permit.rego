package eu

import data.lib

# METADATA
# title: Exactly one permit is examined
# custom:
#   code: permit_count
#   article: 68(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("permit_count", "contract", ["permits"], {}) if {
	not one_permit
}

one_permit if count(input.permits) == 1

# METADATA
# title: The permit is the one that the job names
# custom:
#   code: permit_other
#   article: 68(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("permit_other", "contract", ["job", "permit"], {"permit": lib.value(["permits", 0, "document", "id"])}) if {
	not named
}

named if {
	lib.document.id == input.job.permit
	input.job.permit != ""
}

# METADATA
# title: The permit document has a form that these rules read
# custom:
#   code: permit_schema
#   article: 70
#   valid_from: "2026-11-01"
deny contains lib.reason("permit_schema", "contract", ["permits", 0, "document", "schema"], {}) if {
	not lib.document.schema == "ehds-permit/v1"
}

# METADATA
# title: An answer to a data request gives no access to data
# custom:
#   code: regime_is_request
#   article: 69(1)
#   valid_from: "2029-03-26"
deny contains lib.reason("regime_is_request", lib.ehds, ["permits", 0, "document", "legal_regime"], {}) if {
	lib.document.legal_regime == "EHDS_REQUEST"
}

# METADATA
# title: The permit's legal regime is known
# custom:
#   code: regime_unknown
#   article: 68(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("regime_unknown", "contract", ["permits", 0, "document", "legal_regime"], {"allowed": lib.list(sort(regimes))}) if {
	not regime_known
}

regime_known if lib.document.legal_regime in regimes

regimes := {
	"ACCESS_APPROVAL",
	"DATA_USE_AGREEMENT",
	"EHDS_PERMIT",
	"EHDS_REQUEST",
	"NATIONAL_PERMIT",
	"SANDBOX",
}

# METADATA
# title: The permit's signature was verified with a pinned key
# custom:
#   code: permit_unverified
#   article: 68(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("permit_unverified", "contract", ["permits", 0, "verified"], {}) if {
	not verified
}

verified if {
	lib.permit.verified == true
	lib.permit.issuer_key != ""
	lib.digest(lib.permit.digest)
}

# METADATA
# title: The issuer may decide on these data
# custom:
#   code: permit_out_of_scope
#   article: 68(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("permit_out_of_scope", "contract", ["permits", 0, "in_scope"], {"issuer": lib.value(["permits", 0, "issuer_key"])}) if {
	not lib.permit.in_scope == true
}

# METADATA
# title: The permit carries the digest of the signed legal decision
# custom:
#   code: permit_decision_missing
#   article: 68(1)
#   valid_from: "2026-11-01"
deny contains lib.reason("permit_decision_missing", "contract", ["permits", 0, "document", "document", "sha256"], {}) if {
	not decided
}

decided if regex.match(`^[0-9a-f]{64}$`, lib.document.document.sha256)

# METADATA
# title: Uses that Article 54 prohibits were acknowledged
# custom:
#   code: prohibited_uses_not_acknowledged
#   article: 54
#   valid_from: "2029-03-26"
deny contains lib.reason("prohibited_uses_not_acknowledged", lib.ehds, ["permits", 0, "document", "prohibited_uses_acknowledged"], {}) if {
	not lib.document.prohibited_uses_acknowledged == true
}
