# METADATA
# title: The contract with a site, and what the site measured of itself
package site

import data.lib

# METADATA
# title: The decision of this pack
# entrypoint: true
decision := lib.decision(deny, set(), obligations)
