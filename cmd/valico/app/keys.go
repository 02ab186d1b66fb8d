package app

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/valico-hpc/valico/broker/ledger"
	"github.com/valico-hpc/valico/images/dsse"
)

// keys are the broker's own, one per role: a key in two roles would let a
// statement of one kind pass for another.
type keys struct {
	order  crypto.Signer
	image  crypto.Signer
	link   crypto.Signer // asks the agents of remote sites
	ledger note.Signer
	// ledgerPublic is the ledger's verifier key in the form of a signed note.
	ledgerPublic string
}

// openKeys reads the keys below dir and makes those that are not there yet.
// Private keys are files of mode 0600.
func openKeys(dir, origin string) (keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return keys{}, fmt.Errorf("make the key folder: %w", err)
	}
	var k keys
	var err error
	if k.order, err = openSigner(filepath.Join(dir, "order.key")); err != nil {
		return keys{}, err
	}
	if k.image, err = openSigner(filepath.Join(dir, "image.key")); err != nil {
		return keys{}, err
	}
	if k.link, err = openSigner(filepath.Join(dir, "link.key")); err != nil {
		return keys{}, err
	}
	if err := k.openLedger(filepath.Join(dir, "ledger"), origin); err != nil {
		return keys{}, err
	}
	return k, nil
}

func openSigner(path string) (crypto.Signer, error) {
	b, err := os.ReadFile(path) //nolint:gosec // a path below the broker's own folder
	if err == nil {
		s, err := dsse.ParsePrivatePEM(b)
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", path, err)
		}
		return s, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read key: %w", err)
	}
	s, err := dsse.GenerateKey()
	if err != nil {
		return nil, err
	}
	pem, err := dsse.MarshalPrivatePEM(s)
	if err != nil {
		return nil, err
	}
	return s, writeNew(path, pem, 0o600)
}

// openLedger reads the ledger's key pair, NAME.key and NAME.pub.
func (k *keys) openLedger(name, origin string) error {
	private, err := os.ReadFile(name + ".key") //nolint:gosec // a path below the broker's own folder
	if errors.Is(err, fs.ErrNotExist) {
		skey, vkey, err := ledger.GenerateKey(origin)
		if err != nil {
			return fmt.Errorf("make the ledger key: %w", err)
		}
		if err := writeNew(name+".pub", []byte(vkey), 0o644); err != nil {
			return err
		}
		if err := writeNew(name+".key", []byte(skey), 0o600); err != nil {
			return err
		}
		private = []byte(skey)
	} else if err != nil {
		return fmt.Errorf("read the ledger key: %w", err)
	}
	if k.ledger, err = note.NewSigner(string(private)); err != nil {
		return fmt.Errorf("parse the ledger key %s.key: %w", name, err)
	}
	public, err := os.ReadFile(name + ".pub") //nolint:gosec // a path below the broker's own folder
	if err != nil {
		return fmt.Errorf("read the ledger's verifier key: %w", err)
	}
	k.ledgerPublic = string(public)
	return nil
}

// writeNew writes a file whole or not at all: a crash leaves no half a key.
func writeNew(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // renamed away when all went well
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
