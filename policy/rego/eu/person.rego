package eu

import data.lib

# METADATA
# title: The submitter is a natural person
# custom:
#   code: submitter_not_natural
#   article: 73(1)(a)
#   valid_from: "2029-03-26"
deny contains lib.reason("submitter_not_natural", lib.ehds, ["submitter", "kind"], {}) if {
	not input.submitter.kind == "natural"
}

# METADATA
# title: The way of signing in is known
# custom:
#   code: sign_in_unknown
#   article: 73(1)(d)
#   valid_from: "2026-11-01"
deny contains lib.reason("sign_in_unknown", "contract", ["submitter", "method"], {"allowed": "local_token without mfa, oidc"}) if {
	not signed_in
}

# A local token is one factor: recorded as more, it is not the truth.
signed_in if {
	input.submitter.method == "local_token"
	input.submitter.mfa == false
}

signed_in if input.submitter.method == "oidc"

# METADATA
# title: The submitter is one of the permit's persons
# custom:
#   code: person_not_listed
#   article: 73(1)(a)
#   valid_from: "2029-03-26"
deny contains lib.reason("person_not_listed", lib.ehds, ["submitter", "id"], {}) if {
	not listed
}

listed if {
	input.submitter.id != ""
	some i, _ in lib.document.persons
	lib.document.persons[i].id == input.submitter.id
}

# METADATA
# title: The permit lets this person work now
# custom:
#   code: person_not_valid_now
#   article: 68(10)(d)
#   valid_from: "2029-03-26"
deny contains lib.reason("person_not_valid_now", lib.ehds, ["submitter", "id"], {"now": lib.value(["now"])}) if {
	listed
	not valid_now
}

valid_now if {
	some i, _ in lib.document.persons
	lib.document.persons[i].id == input.submitter.id
	lib.now >= time.parse_rfc3339_ns(lib.document.persons[i].from)
	lib.now < time.parse_rfc3339_ns(lib.document.persons[i].until)
}

# METADATA
# title: The job ends, kill margin included, before the person's time does
# custom:
#   code: permit_ends_too_soon
#   article: 68(10)(d)
#   valid_from: "2029-03-26"
deny contains lib.reason("permit_ends_too_soon", lib.ehds, ["job", "resources", "walltime_seconds"], {"allowed": lib.value(["permits", 0, "document", "persons", i, "until"]), "margin": lib.value(["site", "kill_margin_seconds"])}) if {
	valid_now
	some i, _ in lib.document.persons
	lib.document.persons[i].id == input.submitter.id
	not person_stays(i)
}

person_stays(i) if lib.now + (lib.run_seconds * 1000000000) <= time.parse_rfc3339_ns(lib.document.persons[i].until)
