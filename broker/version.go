package broker

import "runtime/debug"

// Version is what this source is, or is the way to.
const Version = "0.1.0"

// Build is Version with the commit that was built, where the build knows it.
func Build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return Version + "+" + s.Value[:12]
		}
	}
	return Version
}
