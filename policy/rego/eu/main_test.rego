package eu_test

import data.eu

test_the_fixtures_are_allowed[name] if {
	some name in ["admission", "clearance", "based", "real"]
	found := eu.decision with input as data.fixture[name]
	found.verdict == "allow"
	found.obligations == {"permit_condition:c1"}
}

test_own_code_to_be_read_is_a_review if {
	eu.decision.verdict == "review" with input as json.patch(data.fixture.admission, [{
		"op": "replace",
		"path": "/permits/0/document/execution/own_code",
		"value": "reviewed",
	}])
}
