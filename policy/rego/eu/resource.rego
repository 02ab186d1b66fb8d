package eu

import data.lib

# METADATA
# title: No more GPUs at once than the permit grants
# custom:
#   code: gpus_over_permit
#   article: 67(2)(i)
#   valid_from: "2026-11-01"
deny contains lib.reason("gpus_over_permit", "permit_condition", ["job", "resources", "gpus_per_node"], {"nodes": lib.value(["job", "resources", "nodes"]), "allowed": lib.value(["permits", 0, "document", "spe", "max_gpus"])}) if {
	not gpus_granted
}

# Zero sets no limit.
gpus_granted if lib.document.spe.max_gpus == 0

gpus_granted if lib.at_most(lib.gpus, lib.document.spe.max_gpus)

# METADATA
# title: No more GPU-hours in all than the permit grants
# custom:
#   code: gpu_hours_over_permit
#   article: 67(2)(i)
#   valid_from: "2026-11-01"
deny contains lib.reason("gpu_hours_over_permit", "permit_condition", ["budget", "gpu_seconds"], {"used": lib.value(["permits", 0, "gpu_seconds_used"]), "allowed": lib.value(["permits", 0, "document", "spe", "gpu_hours"])}) if {
	not hours_granted
}

# METADATA
# title: A job's segments together need no more than the permit grants in all
# custom:
#   code: segments_over_permit
#   article: 67(2)(i)
#   valid_from: "2026-11-01"
deny contains lib.reason("segments_over_permit", "permit_condition", ["job", "resume", "max_segments"], {"each": lib.value(["budget", "gpu_seconds"]), "allowed": lib.value(["permits", 0, "document", "spe", "gpu_hours"])}) if {
	not segments_granted
}

segments_granted if {
	lib.document.spe.gpu_hours == 0
	is_number(input.job.resume.max_segments)
}

# One segment alone is the rule above.
segments_granted if input.job.resume.max_segments == 1

segments_granted if lib.at_most(lib.job_gpu_seconds, lib.document.spe.gpu_hours * 3600)

hours_granted if {
	lib.document.spe.gpu_hours == 0
	is_number(lib.permit.gpu_seconds_used)
}

hours_granted if lib.at_most(lib.permit.gpu_seconds_used + lib.gpu_seconds, lib.document.spe.gpu_hours * 3600)
