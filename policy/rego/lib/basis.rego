# Calendar of Regulation (EU) 2025/327 and the basis of reasons. Chapter IV
# applies from 26 March 2029 (Article 105), for some categories of data from
# 26 March 2031. Midnight is taken in UTC, which is later than in Brussels:
# nothing is called law too early.
package lib

chapter_iv_from := time.parse_rfc3339_ns("2029-03-26T00:00:00Z")

later_categories_from := time.parse_rfc3339_ns("2031-03-26T00:00:00Z")

# Article 51(1) letters that apply later: determinants of health, genomics,
# other omics, clinical trials, research cohorts.
later_categories := {"b", "f", "g", "m", "p"}

# Regimes under which Chapter IV itself gives access.
ehds_regimes := {"ACCESS_APPROVAL", "EHDS_PERMIT"}

ehds_regime if document.legal_regime in ehds_regimes

chapter_iv_applies if now >= chapter_iv_from

later_categories_apply if now >= later_categories_from

# The basis of a rule that Chapter IV contains: law once it applies and the
# permit is one of that law; before, and under any other regime, what the
# permit itself says.
default ehds := "permit_condition"

ehds := "in_force" if {
	ehds_regime
	chapter_iv_applies
}
