# How packs answer.
package lib

# A reason with the value concerned. Everything in it is total: a missing field
# must never undo the reason that denies it.
reason(code, basis, path, params) := {
	"code": code,
	"basis": basis,
	"path": location(path),
	"params": object.union({"value": value(path)}, params),
}

decision(denials, reviews, obligations) := {
	"verdict": verdict(denials, reviews),
	"reasons": (denials | reviews),
	"obligations": obligations,
}

verdict(denials, _) := "deny" if count(denials) > 0

verdict(denials, reviews) := "review" if {
	count(denials) == 0
	count(reviews) > 0
}

verdict(denials, reviews) := "allow" if {
	count(denials) == 0
	count(reviews) == 0
}

# The value at a path of input, as text.
value(path) := text(object.get(input, path, null))

text(null) := "missing"

text(v) := substring(v, 0, 200) if is_string(v)

text(v) := sprintf("%v", [v]) if is_number(v)

text(v) := sprintf("%v", [v]) if is_boolean(v)

text(v) := list(v) if is_array(v)

text(v) := "an object" if is_object(v)

# Strings of a list or set in order, or how many entries there are.
list(v) := "none" if count(v) == 0

list(v) := substring(concat(", ", v), 0, 400) if {
	count(v) > 0
	only_strings(v)
}

list(v) := sprintf("%d entries", [count(v)]) if {
	count(v) > 0
	not only_strings(v)
}

only_strings(v) if {
	every s in v {
		is_string(s)
	}
}

# One field of each object in a list of input, as text.
column(path, key) := list([text(object.get(o, key, null)) | some o in object.get(input, path, [])])

# Where in input, as people write it: job.datasets[0].puri
location(path) := trim_left(concat("", [piece(p) | some p in path]), ".")

piece(p) := sprintf("[%d]", [p]) if is_number(p)

piece(p) := concat("", [".", p]) if is_string(p)
