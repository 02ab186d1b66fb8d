package site

import data.lib

# METADATA
# title: A job that resumes says how
# custom:
#   code: resume_malformed
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("resume_malformed", "contract", ["job", "resume", "max_segments"], {"signal": lib.value(["job", "resume", "signal"]), "before": lib.value(["job", "resume", "before_seconds"])}) if {
	not resume_formed
}

# One segment: nothing is resumed.
resume_formed if {
	input.job.resume.max_segments == 1
	input.job.resume.signal == ""
	input.job.resume.before_seconds == 0
}

resume_formed if {
	lib.at_most(2, input.job.resume.max_segments)
	lib.at_most(input.job.resume.max_segments, 100)
	input.job.resume.signal in {"HUP", "INT", "TERM", "USR1", "USR2"}
	lib.at_most(1, input.job.resume.before_seconds)
	lib.at_most(input.job.resume.before_seconds + 1, input.job.resources.walltime_seconds)
}

# METADATA
# title: A segment is one of those that the job was admitted with
# custom:
#   code: segments_used_up
#   article: contract
#   valid_from: "2026-11-01"
deny contains lib.reason("segments_used_up", "contract", ["segment"], {"allowed": lib.value(["job", "resume", "max_segments"])}) if {
	not segment_open
}

segment_open if {
	lib.at_most(1, input.segment)
	lib.at_most(input.segment, input.job.resume.max_segments)
}
