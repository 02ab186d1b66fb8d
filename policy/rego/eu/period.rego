package eu

import data.lib

# METADATA
# title: The permit's status is one that gives access
# custom:
#   code: permit_status
#   article: 63(3)
#   valid_from: "2029-03-26"
deny contains lib.reason("permit_status", lib.ehds, ["permits", 0, "status"], {"allowed": lib.list(sort(giving_access))}) if {
	not active
}

# METADATA
# title: The permit was issued with a status that gives access
# custom:
#   code: permit_status
#   article: 63(3)
#   valid_from: "2029-03-26"
deny contains lib.reason("permit_status", lib.ehds, ["permits", 0, "document", "status"], {"allowed": lib.list(sort(giving_access))}) if {
	not issued_active
}

active if lib.permit.status in giving_access

issued_active if lib.document.status in giving_access

giving_access := {"AMENDED", "GRANTED", "RENEWED"}

# METADATA
# title: No newer version of the permit is known
# custom:
#   code: permit_not_latest
#   article: 68(13)
#   valid_from: "2029-03-26"
deny contains lib.reason("permit_not_latest", lib.ehds, ["permits", 0, "latest"], {}) if {
	not lib.permit.latest == true
}

# METADATA
# title: The status is fresh
# custom:
#   code: permit_status_stale
#   article: 63(3)
#   valid_from: "2026-11-01"
deny contains lib.reason("permit_status_stale", "contract", ["permits", 0, "status_age_seconds"], {"allowed": lib.value(["permits", 0, "status_max_age_seconds"])}) if {
	not fresh
}

# A status from the future shows a wrong clock; a minute is forgiven.
fresh if {
	lib.at_most(lib.permit.status_age_seconds, lib.permit.status_max_age_seconds)
	lib.at_most(-60, lib.permit.status_age_seconds)
}

# METADATA
# title: The permit's period has begun
# custom:
#   code: permit_not_started
#   article: 68(10)(e)
#   valid_from: "2029-03-26"
deny contains lib.reason("permit_not_started", lib.ehds, ["permits", 0, "document", "access_period", "start"], {"now": lib.value(["now"])}) if {
	not started
}

started if lib.now >= lib.period_start

# METADATA
# title: The permit's period is not over
# custom:
#   code: permit_expired
#   article: 68(10)(e)
#   valid_from: "2029-03-26"
deny contains lib.reason("permit_expired", lib.ehds, ["permits", 0, "document", "access_period", "end"], {"now": lib.value(["now"])}) if {
	not unexpired
}

unexpired if lib.now < lib.period_end

# METADATA
# title: The job ends, kill margin included, before the permit does
# custom:
#   code: permit_ends_too_soon
#   article: 68(12)
#   valid_from: "2029-03-26"
deny contains lib.reason("permit_ends_too_soon", lib.ehds, ["job", "resources", "walltime_seconds"], {"allowed": lib.value(["permits", 0, "document", "access_period", "end"]), "margin": lib.value(["site", "kill_margin_seconds"])}) if {
	unexpired
	not fits
}

fits if lib.now + (lib.run_seconds * 1000000000) <= lib.period_end

# METADATA
# title: Chapter IV gives no access before it applies
# custom:
#   code: chapter_not_applicable
#   article: 105
#   valid_from: "2029-03-26"
deny contains lib.reason("chapter_not_applicable", "anticipated", ["permits", 0, "document", "legal_regime"], {"from": "2029-03-26", "now": lib.value(["now"])}) if {
	lib.ehds_regime
	not lib.chapter_iv_applies
}

# METADATA
# title: Some categories of data follow later
# custom:
#   code: category_not_applicable
#   article: 105
#   valid_from: "2029-03-26"
deny contains lib.reason("category_not_applicable", "anticipated", ["permits", 0, "document", "datasets", i, "categories"], {"category": category, "from": "2031-03-26", "now": lib.value(["now"])}) if {
	lib.ehds_regime
	not lib.later_categories_apply
	some i, _ in lib.document.datasets
	some category in lib.document.datasets[i].categories
	category in lib.later_categories
}
