# METADATA
# title: What the permit says, read with Regulation (EU) 2025/327
package eu

import data.lib

# METADATA
# title: The decision of this pack
# entrypoint: true
decision := lib.decision(deny, review, obligations)
