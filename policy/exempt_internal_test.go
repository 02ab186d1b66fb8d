package policy

// describing lists the fields that no rule judges, with the reason why. They
// describe, for people and for the record; most were judged when the permit was
// imported.
func describing() map[string]string {
	const (
		imported = "checked when the permit is imported, once per version; signed by the authority"
		words    = "words or names for people; nothing can be compared with them"
	)
	return map[string]string{
		"job.name":            "a label for people that never leaves the broker",
		"image.config.author": "says who made the image; runs nothing",
		"submitter.roles":     "who may submit is held by the interface that takes the job; the roles are recorded for the airlock's separation of duties",
		"budget.granted":      "shown beside budget.available, which is granted less reserved and used",
		"site.country":        "Article 87 is judged for real data, together with adequacy decisions; the registry's country of each dataset is compared",
		"site.operator":       words,

		"permits[].document.version":                         "the status statement names id and version and is verified against both before this input is made",
		"permits[].document.supersedes":                      "the record of imported versions sets permits[].latest",
		"permits[].document.reference":                       words,
		"permits[].document.issuer.hdab_id":                  "the issuer's pinned key and scope are judged by permits[].verified and in_scope",
		"permits[].document.issuer.name":                     words,
		"permits[].document.issuer.country":                  "the issuer's pinned key and scope are judged by permits[].verified and in_scope",
		"permits[].document.issuer.contact":                  words,
		"permits[].document.document.media_type":             "the decision is named by its digest; how it is written changes nothing",
		"permits[].document.document.signed_at":              imported,
		"permits[].document.user.kind":                       imported,
		"permits[].document.user.name":                       words,
		"permits[].document.user.id":                         "the persons of the permit are matched, not the organisation",
		"permits[].document.user.country":                    "Article 91 is the authority's to judge when it grants",
		"permits[].document.user.is_public_body":             "Article 53(2) is the authority's to judge when it grants: acting on behalf of a public body is not in the document",
		"permits[].document.persons[].name":                  words,
		"permits[].document.persons[].affiliation":           words,
		"permits[].document.persons[].role":                  "exactly one principal investigator is checked at import; every person listed may work",
		"permits[].document.purpose_description":             words,
		"permits[].document.issued_at":                       imported,
		"permits[].document.retention.delete_by":             "deletion follows the end of access, which is judged; a timer holds it",
		"permits[].document.spe.id":                          "the environment is known to sites by their names, which are judged",
		"permits[].document.spe.name":                        words,
		"permits[].document.spe.operator":                    words,
		"permits[].document.spe.country":                     "Article 87 is judged for real data, together with adequacy decisions",
		"permits[].document.spe.software_components[].image": "components are approved by digest; a name may move",
		"permits[].document.execution.placement":             "no job can ask for a placement: data lie where the site's registry says and are not moved",
		"permits[].document.outputs.model_export":            "judged when outputs are asked to leave, not when a job starts",
		"permits[].document.outputs.reviewer_authority":      "shown to people; judged when outputs are asked to leave",
	}
}

// optional lists the fields whose absence means something that a rule judges.
func optional() map[string]string {
	return map[string]string{
		"image.config.labels.org.opencontainers.image.title": "a base may have any labels or none",
		"permits[].document.conditions":                      "a permit without specific conditions has none to keep",
		"permits[].document.conditions[].rego":               "a condition without a machine-readable part is for people",
		"permits[].document.datasets[].version":              "a permit that names no version covers every version",
		"permits[].document.purposes[].sub":                  "a permit that names no sub-point covers the whole point",
		"permits[].document.supersedes":                      "a first version supersedes nothing",
	}
}
