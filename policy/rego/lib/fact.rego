# Facts that several rules share. Each is undefined when a part of it is
# missing; rules negate.
package lib

permit := input.permits[0]

document := permit.document

now := time.parse_rfc3339_ns(input.now)

period_start := time.parse_rfc3339_ns(document.access_period.start)

period_end := time.parse_rfc3339_ns(document.access_period.end)

sandbox if document.legal_regime == "SANDBOX"

clearance if input.moment == "clearance"

gpus := input.job.resources.nodes * input.job.resources.gpus_per_node

# What one attempt may take, the site's time to kill it included.
run_seconds := input.job.resources.walltime_seconds + input.site.kill_margin_seconds

gpu_seconds := max([input.budget.gpu_seconds, gpus * run_seconds])

# What all of a job's segments together may take.
job_gpu_seconds := gpu_seconds * input.job.resume.max_segments

# What the allocation is charged for it, in thousandths.
charge := max([input.budget.needed * 1000, gpu_seconds * input.budget.weight])

# Entry j of the site's registry is the dataset that use i means.
entry(i, j) if {
	input.site.datasets[j].puri == input.job.datasets[i].puri
	input.job.datasets[i].version in {"", input.site.datasets[j].version}
}

entries(i) := {j |
	some j in registry[input.job.datasets[i].puri]
	entry(i, j)
}

# The whole table at once: a lookup in a rule of many values would go through
# the list each time.
registry := {puri: places | some puri, places in registered}

registered[puri] contains j if {
	some j, _ in input.site.datasets
	puri := input.site.datasets[j].puri
}

at_site(i) if count(entries(i)) > 0

# Dataset k of the permit covers use i.
covers(i, k) if {
	document.datasets[k].id == input.job.datasets[i].puri
	version_covered(i, k)
}

# A permit that names no version covers every version.
version_covered(_, k) if not document.datasets[k].version

version_covered(i, k) if document.datasets[k].version == input.job.datasets[i].version

version_covered(i, k) if {
	input.job.datasets[i].version == ""
	some j in entries(i)
	document.datasets[k].version == input.site.datasets[j].version
}

grants(i) := {k |
	some k in grant[input.job.datasets[i].puri]
	covers(i, k)
}

grant := {id: places | some id, places in granted}

granted[id] contains k if {
	some k, _ in document.datasets
	id := document.datasets[k].id
}

permitted(i) if count(grants(i)) > 0

at_most(a, b) if {
	is_number(a)
	is_number(b)
	a <= b
}

digest(s) if regex.match(`^sha256:[0-9a-f]{64}$`, s)

# One path element that needs no quoting anywhere.
element(s) if regex.match(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`, s)

# An absolute path in its shortest form.
folder("/")

folder(s) if {
	startswith(s, "/")
	relative(substring(s, 1, -1))
}

# A relative path that stays below its folder, in its shortest form.
relative(s) if {
	regex.match(`^[^\x00-\x1f\x7f\\]+$`, s)
	parts := split(s, "/")
	every part in parts {
		not part in {"", ".", ".."}
	}
}
