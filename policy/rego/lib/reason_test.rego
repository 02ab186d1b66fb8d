package lib_test

import data.lib

finding := {"code": "x", "basis": "contract", "path": "a", "params": {"value": "missing"}}

test_a_denial_outweighs_a_review if {
	lib.decision({finding}, {finding}, set()).verdict == "deny"
	lib.decision({finding}, set(), set()).verdict == "deny"
}

test_a_review_outweighs_nothing if lib.decision(set(), {finding}, set()).verdict == "review"

test_nothing_found_allows if {
	lib.decision(set(), set(), {"o"}) == {"verdict": "allow", "reasons": set(), "obligations": {"o"}}
}

test_a_location_reads_as_people_write_it if lib.location(["a", 0, "b", "c", 12]) == "a[0].b.c[12]"

text_cases := {
	"text": {"v": "abc", "want": "abc"},
	"long text is cut": {"v": concat("", [s | some s in array.concat(long, long)]), "want": concat("", long)},
	"number": {"v": 3, "want": "3"},
	"half": {"v": 0.5, "want": "0.5"},
	"boolean": {"v": false, "want": "false"},
	"absent": {"v": null, "want": "missing"},
	"strings": {"v": ["b", "a"], "want": "b, a"},
	"nothing": {"v": [], "want": "none"},
	"objects": {"v": [{}, {}], "want": "2 entries"},
	"object": {"v": {"a": 1}, "want": "an object"},
}

long := ["x" | some _ in numbers.range(1, 200)]

test_text[name] if {
	some name, c in text_cases
	lib.text(c.v) == c.want
}

test_a_reason_is_total_where_nothing_is if {
	lib.reason("x", "contract", ["a"], {"b": lib.column(["c"], "d")}) == {
		"code": "x",
		"basis": "contract",
		"path": "a",
		"params": {"value": "missing", "b": "none"},
	} with input as {}
}

test_a_column_shows_what_is_missing if {
	lib.column(["c"], "d") == "1, missing" with input as {"c": [{"d": 1}, {}]}
}
