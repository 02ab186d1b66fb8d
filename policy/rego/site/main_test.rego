package site_test

import data.site

test_the_fixtures_are_allowed[name] if {
	some name in ["admission", "clearance", "based", "real"]
	site.decision == {"verdict": "allow", "reasons": set(), "obligations": set()} with input as data.fixture[name]
}
