package queue

// Words is a sentence on why the job one place ahead comes first, in English, or
// in Italian where lang is "it". It names no other organisation, project or job.
func Words(lang string, b Before, sameProject bool) string {
	en, it := b.words(sameProject)
	if lang == "it" {
		return it
	}
	return en
}

func (b Before) words(sameProject bool) (en, it string) {
	switch b {
	case First:
		return "Nothing comes before it.", "Nulla lo precede."
	case TenantLess:
		return "The one ahead is of another organisation, which was given less GPU time in the last 24 hours for the weight of its class.",
			"Quello che precede è di un'altra organizzazione, che nelle ultime 24 ore ha ricevuto meno tempo GPU in rapporto al peso della sua classe."
	case ProjectLess:
		return "The one ahead is of another project of your organisation, which was given less GPU time in the last 24 hours for the weight of its class.",
			"Quello che precede è di un altro progetto della stessa organizzazione, che nelle ultime 24 ore ha ricevuto meno tempo GPU in rapporto al peso della sua classe."
	case ClassHeavier:
		if sameProject {
			return "The one ahead was submitted later, but the head start of its priority class is longer.",
				"Quello che precede è stato inviato dopo, ma la sua classe di priorità dà un vantaggio maggiore."
		}
		return "The one ahead is of another project, and its priority class weighs more.",
			"Quello che precede è di un altro progetto e la sua classe di priorità pesa di più."
	case SubmittedLess:
		return "The one ahead was submitted earlier.", "Quello che precede è stato inviato prima."
	}
	return "", ""
}
