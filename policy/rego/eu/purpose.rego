package eu

import data.lib

# METADATA
# title: The purpose is one of Article 53(1)
# custom:
#   code: purpose_unknown
#   article: 53(1)
#   valid_from: "2029-03-26"
deny contains lib.reason("purpose_unknown", lib.ehds, ["job", "purpose", "code"], {"allowed": lib.list(sort(purposes))}) if {
	not purpose_known
}

purpose_known if input.job.purpose.code in purposes

purposes := {
	"53(1)(a)",
	"53(1)(b)",
	"53(1)(c)",
	"53(1)(d)",
	"53(1)(e)",
	"53(1)(f)",
}

# METADATA
# title: The purpose is one of the permit's
# custom:
#   code: purpose_not_permitted
#   article: 68(10)(b)
#   valid_from: "2029-03-26"
deny contains lib.reason("purpose_not_permitted", lib.ehds, ["job", "purpose", "code"], {"sub": lib.value(["job", "purpose", "sub"]), "allowed": lib.column(["permits", 0, "document", "purposes"], "code")}) if {
	not purpose_permitted
}

purpose_permitted if {
	some i, _ in lib.document.purposes
	lib.document.purposes[i].code == input.job.purpose.code
	sub_permitted(i)
}

# A permit that names no sub-point covers the whole point.
sub_permitted(i) if not lib.document.purposes[i].sub

sub_permitted(i) if lib.document.purposes[i].sub == input.job.purpose.sub

# METADATA
# title: The activity is one of the permit's
# custom:
#   code: activity_not_permitted
#   article: 68(10)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("activity_not_permitted", "permit_condition", ["job", "activity"], {"allowed": lib.value(["permits", 0, "document", "permitted_activities"])}) if {
	not activity_permitted
}

activity_permitted if input.job.activity in lib.document.permitted_activities

# METADATA
# title: Algorithms are trained and tested for 53(1)(e)(ii) or as the permit says
# custom:
#   code: activity_needs_purpose
#   article: 53(1)(e)(ii)
#   valid_from: "2029-03-26"
deny contains lib.reason("activity_needs_purpose", lib.ehds, ["job", "activity"], {"purpose": lib.value(["job", "purpose", "code"]), "sub": lib.value(["job", "purpose", "sub"])}) if {
	input.job.activity in {"evaluate", "fine_tune", "train"}
	not activity_permitted
	not trains
}

trains if {
	input.job.purpose.code == "53(1)(e)"
	input.job.purpose.sub == "ii"
}
