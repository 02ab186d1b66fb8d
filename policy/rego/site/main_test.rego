package site_test

import data.site

test_the_fixtures_are_allowed[name] if {
	some name in ["admission", "clearance", "based", "real"]
	site.decision == {"verdict": "allow", "reasons": set(), "obligations": {"priority:standard:4"}} with input as data.fixture[name]
}
