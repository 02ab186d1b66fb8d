package site

import data.lib

# METADATA
# title: An image is examined at clearance
# custom:
#   code: image_missing
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_missing", "contract", ["image"], {}) if {
	lib.clearance
	not input.image
}

# METADATA
# title: The image's signature was verified with a pinned key
# custom:
#   code: image_unsigned
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_unsigned", "contract", ["image", "signed"], {}) if {
	input.image
	not signed
}

signed if {
	input.image.signed == true
	input.image.signer_key != ""
	lib.digest(input.image.digest)
}

# METADATA
# title: The image stands on the base that was admitted
# custom:
#   code: image_base_differs
#   article: 68(10)(f)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_base_differs", "contract", ["image", "base"], {"allowed": lib.value(["job", "image", "base"])}) if {
	input.image
	not input.image.base == input.job.image.base
}

# METADATA
# title: The image has the base's layers and then the job's, nothing else
# custom:
#   code: image_layers_differ
#   article: 73(1)(b)
#   valid_from: "2026-11-01"
deny contains lib.reason("image_layers_differ", "contract", ["image", "layers"], {"declared": lib.column(["job", "image", "layers"], "digest")}) if {
	input.image
	not same_layers
}

same_layers if {
	count(input.image.layers) == count(input.image.config.diff_ids)
	base := [i | some i, _ in input.image.layers; input.image.layers[i].class == "base"]
	added := count(input.image.layers) - count(base)
	added == count(input.job.image.layers)
	based(base)
	every i, _ in input.job.image.layers {
		same_layer(count(base) + i, i)
	}
	every i, _ in input.image.layers {
		lib.digest(input.image.layers[i].diff_id)
		input.image.layers[i].diff_id == input.image.config.diff_ids[i]
	}
}

# Base layers come first; an image without a base has none.
based(base) if {
	input.job.image.base == "none"
	base == []
}

based(base) if {
	lib.digest(input.job.image.base)
	base == numbers.range(0, count(base) - 1)
}

same_layer(i, j) if {
	input.image.layers[i].class == input.job.image.layers[j].class
	input.image.layers[i].media_type == input.job.image.layers[j].media_type
	input.image.layers[i].digest == input.job.image.layers[j].digest
	input.image.layers[i].diff_id == input.job.image.layers[j].diff_id
	input.image.layers[i].size_bytes == input.job.image.layers[j].size_bytes
}
