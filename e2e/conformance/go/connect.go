package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Peer is where to connect, and as whom.
type Peer struct {
	Endpoint    string `json:"endpoint"`
	Authority   string `json:"authority"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

func (p Peer) connect() (*grpc.ClientConn, error) {
	address, secured := strings.CutPrefix(p.Endpoint, "https://")
	if !secured {
		return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	authority, err := os.ReadFile(p.Authority)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(authority)
	if p.Certificate != "" {
		shown, err := tls.LoadX509KeyPair(p.Certificate, p.Key)
		if err != nil {
			return nil, err
		}
		// Also to a server that asks for one of another authority.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown, nil }
	}
	return grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
}
