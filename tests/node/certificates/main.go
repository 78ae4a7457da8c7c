// certificates makes the keys of one cluster: an authority, what servers show, what clients show, and a kubeconfig for each
// client. It reads from a file what is wanted and writes into the folder it is given. The authority's key is not kept: nobody
// can be added later.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const validFor = 365 * 24 * time.Hour

type wanted struct {
	// Where the API is.
	URL string `json:"url"`
	// Names and addresses by server.
	Servers map[string][]string `json:"servers"`
	Clients map[string]struct {
		User  string `json:"user"`
		Group string `json:"group"`
	} `json:"clients"`
}

type authority struct {
	folder      string
	certificate *x509.Certificate
	key         crypto.Signer
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: certificates WANTED.json FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file, folder string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var want wanted
	if err := json.Unmarshal(text, &want); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	ca, err := newAuthority(folder)
	if err != nil {
		return err
	}
	for name, names := range want.Servers {
		template := &x509.Certificate{
			Subject:     pkix.Name{CommonName: name},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		for _, it := range names {
			if address := net.ParseIP(it); address != nil {
				template.IPAddresses = append(template.IPAddresses, address)
			} else {
				template.DNSNames = append(template.DNSNames, it)
			}
		}
		if _, _, err := ca.sign(name, template); err != nil {
			return err
		}
	}
	for name, client := range want.Clients {
		template := &x509.Certificate{
			Subject:     pkix.Name{CommonName: client.User},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		if client.Group != "" {
			template.Subject.Organization = []string{client.Group}
		}
		certificate, key, err := ca.sign(name, template)
		if err != nil {
			return err
		}
		if err := ca.writeKubeconfig(name, want.URL, certificate, key); err != nil {
			return err
		}
	}
	return writeTokenKey(folder)
}

func newAuthority(folder string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "tenure test cluster"},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(validFor),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	ca := &authority{folder: folder, certificate: certificate, key: key}
	return ca, os.WriteFile(filepath.Join(folder, "ca.crt"), ca.pem(), 0o644)
}

func (ca *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.certificate.Raw})
}

// Makes a key and a certificate for it, and writes NAME.crt and NAME.key.
func (ca *authority) sign(name string, template *x509.Certificate) (certificate, key []byte, err error) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = ca.certificate.NotBefore, ca.certificate.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, signer.Public(), ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(ca.folder, name+".crt"), certificate, 0o644); err != nil {
		return nil, nil, err
	}
	key, err = writeKey(filepath.Join(ca.folder, name+".key"), signer)
	return certificate, key, err
}

// With everything in it, so that the file can be taken elsewhere. JSON is YAML.
func (ca *authority) writeKubeconfig(name, url string, certificate, key []byte) error {
	type object = map[string]any
	config := object{
		"apiVersion": "v1", "kind": "Config", "current-context": "tenure",
		"clusters": []object{{"name": "tenure", "cluster": object{"server": url, "certificate-authority-data": ca.pem()}}},
		"users":    []object{{"name": name, "user": object{"client-certificate-data": certificate, "client-key-data": key}}},
		"contexts": []object{{"name": "tenure", "context": object{"cluster": "tenure", "user": name}}},
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(ca.folder, name+".kubeconfig"), append(text, '\n'), 0o600)
}

// What service account tokens are signed with.
func writeTokenKey(folder string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if _, err := writeKey(filepath.Join(folder, "service-accounts.key"), key); err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	return os.WriteFile(filepath.Join(folder, "service-accounts.pub"), text, 0o644)
}

func writeKey(file string, key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return text, os.WriteFile(file, text, 0o600)
}
