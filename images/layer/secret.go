package layer

import (
	"bytes"
	"path"
	"strings"
)

// secretHead is how much of a key-like file is searched for a private key.
const secretHead = 64 << 10

// secretName names the reason why a file must not travel in an image, judged
// by its name alone; "" for none. An image is read by more people and kept for
// longer than the folder it came from.
func secretName(name string, dir bool) string {
	base := strings.ToLower(path.Base(name))
	if dir {
		switch base {
		case ".git", ".hg", ".svn":
			return "a repository's history may hold secrets and does not belong in an image"
		case ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker":
			return "a folder of credentials does not belong in an image"
		}
		return ""
	}
	switch base {
	case "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk":
		return "a private SSH key does not belong in an image"
	case ".git": // a work tree's pointer
		return "a repository's history may hold secrets and does not belong in an image"
	case ".netrc", "_netrc", ".pgpass", ".my.cnf", ".pypirc", ".npmrc", ".git-credentials", ".htpasswd",
		".dockerconfigjson", ".dockercfg", ".vault-token", "credentials.json", "service-account.json",
		".huggingface_token", ".wandb_api_key", "kaggle.json":
		return "a file of credentials does not belong in an image"
	}
	if base == ".env" || strings.HasPrefix(base, ".env.") && !isExample(base) {
		return "a file of environment secrets does not belong in an image"
	}
	switch path.Ext(base) {
	case ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk":
		return "a key store does not belong in an image"
	}
	return ""
}

func isExample(base string) bool {
	for _, s := range []string{".example", ".sample", ".template", ".dist"} {
		if strings.HasSuffix(base, s) {
			return true
		}
	}
	return false
}

// mayHoldKey reports whether a file's content must be searched for a private key.
func mayHoldKey(name string) bool {
	switch path.Ext(strings.ToLower(name)) {
	case ".pem", ".key", ".crt", ".cer", ".asc", ".pub":
		return true
	}
	return false
}

// holdsKey reports whether text holds a private key in PEM or OpenPGP armour.
func holdsKey(head []byte) bool {
	for line := range bytes.Lines(head) {
		if bytes.HasPrefix(line, []byte("-----BEGIN ")) && bytes.Contains(line, []byte("PRIVATE KEY")) {
			return true
		}
	}
	return false
}

// secretError offers the very pattern that leaves the file out.
func secretError(name, rule string) *Error {
	pattern := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
	return &Error{
		Code: CodeSecret, Path: quote(name), Rule: rule,
		Help: "leave it out: add the line /" + pattern + " to " + IgnoreFile,
	}
}
