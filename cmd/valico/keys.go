package main

import (
	"bytes"
	"crypto"
	"os"

	"github.com/valico-hpc/valico/images/dsse"
)

// readKey reads a private key. One that others may read is refused.
func readKey(path string) (crypto.Signer, error) {
	b, err := readFile("the key", path)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError("read the key", path, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, invalid("key_readable", "others may read the private key", "a private key is a file of mode 0600", path, "chmod 600 "+path)
	}
	key, err := dsse.ParsePrivatePEM(b)
	if err != nil {
		return nil, invalid("key_invalid", "the key cannot be used", "a key is ECDSA P-256 or Ed25519, one PEM block PRIVATE KEY", path,
			"make one with: openssl genpkey -algorithm ed25519 -out my.key && chmod 600 my.key")
	}
	return key, nil
}

// readToken reads a compact JWS: one line.
func readToken(what, path string) ([]byte, error) {
	b, err := readFile(what, path)
	return bytes.TrimSpace(b), err
}

// writeFile writes a new file; one that is there stays.
func writeFile(path string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the person's own choice
	if err != nil {
		return fileError("write the file", path, err)
	}
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fileError("write the file", path, err)
	}
	return nil
}
