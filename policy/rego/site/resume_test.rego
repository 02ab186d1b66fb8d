package site_test

import data.site

resume_cases := {
	"several segments": {
		"patch": [{"op": "replace", "path": "/job/resume", "value": {"signal": "USR1", "before_seconds": 120, "max_segments": 5}}],
		"want": set(),
	},
	"as many segments as there may be": {
		"patch": [{"op": "replace", "path": "/job/resume", "value": {"signal": "TERM", "before_seconds": 3549, "max_segments": 100}}],
		"want": set(),
	},
	"too many segments": {
		"patch": [{"op": "replace", "path": "/job/resume", "value": {"signal": "USR1", "before_seconds": 120, "max_segments": 101}}],
		"want": {malformed("USR1", "120", "101")},
	},
	"no segment": {
		"patch": [{"op": "replace", "path": "/job/resume/max_segments", "value": 0}],
		"want": {malformed("", "0", "0"), used_up("0", "1")},
	},
	"one segment with a signal": {
		"patch": [{"op": "replace", "path": "/job/resume/signal", "value": "USR1"}],
		"want": {malformed("USR1", "0", "1")},
	},
	"a signal that nothing can catch": {
		"patch": [{"op": "replace", "path": "/job/resume", "value": {"signal": "KILL", "before_seconds": 120, "max_segments": 5}}],
		"want": {malformed("KILL", "120", "5")},
	},
	"a signal at the start": {
		"patch": [{"op": "replace", "path": "/job/resume", "value": {"signal": "USR1", "before_seconds": 3550, "max_segments": 5}}],
		"want": {malformed("USR1", "3550", "5")},
	},
	"a signal at the end": {
		"patch": [{"op": "replace", "path": "/job/resume", "value": {"signal": "USR1", "before_seconds": 0, "max_segments": 5}}],
		"want": {malformed("USR1", "0", "5")},
	},
	"missing signal": {
		"patch": [{"op": "remove", "path": "/job/resume/signal"}],
		"want": {incomplete("job.resume.signal"), malformed("missing", "0", "1")},
	},
	"missing time": {
		"patch": [{"op": "remove", "path": "/job/resume/before_seconds"}],
		"want": {incomplete("job.resume.before_seconds"), malformed("", "missing", "1")},
	},
	"missing number of segments": {
		"patch": [{"op": "remove", "path": "/job/resume/max_segments"}],
		"want": {incomplete("job.resume.max_segments"), malformed("", "0", "missing"), used_up("missing", "1")},
	},
	"the last segment": {
		"patch": [
			{"op": "replace", "path": "/job/resume", "value": {"signal": "USR1", "before_seconds": 120, "max_segments": 5}},
			{"op": "replace", "path": "/segment", "value": 5},
		],
		"want": set(),
	},
	"a segment after the last": {
		"patch": [
			{"op": "replace", "path": "/job/resume", "value": {"signal": "USR1", "before_seconds": 120, "max_segments": 5}},
			{"op": "replace", "path": "/segment", "value": 6},
		],
		"want": {{"code": "segments_used_up", "basis": "contract", "params": {"allowed": "5", "value": "6"}, "path": "segment"}},
	},
	"a second segment of a job of one": {
		"patch": [{"op": "replace", "path": "/segment", "value": 2}],
		"want": {{"code": "segments_used_up", "basis": "contract", "params": {"allowed": "1", "value": "2"}, "path": "segment"}},
	},
	"missing segment": {
		"patch": [{"op": "remove", "path": "/segment"}],
		"want": {incomplete("segment"), used_up("1", "missing")},
	},
}

incomplete(path) := {"code": "input_incomplete", "basis": "contract", "params": {"value": "missing"}, "path": path}

malformed(signal, before, segments) := {"code": "resume_malformed", "basis": "contract", "params": {"signal": signal, "before": before, "value": segments}, "path": "job.resume.max_segments"}

used_up(allowed, segment) := {"code": "segments_used_up", "basis": "contract", "params": {"allowed": allowed, "value": segment}, "path": "segment"}

test_resume[name] if {
	some name, c in resume_cases
	found := site.deny with input as json.patch(data.fixture.admission, c.patch)
	found == c.want
}
