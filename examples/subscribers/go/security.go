package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// The names of librdkafka, so that one file serves its clients and this program.
var knownProperties = map[string]bool{
	"security.protocol": true, "sasl.mechanism": true, "sasl.username": true, "sasl.password": true,
	"ssl.ca.location": true, "ssl.certificate.location": true, "ssl.key.location": true,
}

// securityOptions returns the options for TLS and SASL in a properties file. An empty name of the
// file means none. An error names a property, but never its value.
func securityOptions(file string) ([]kgo.Opt, error) {
	if file == "" {
		return nil, nil
	}
	properties, err := readProperties(file)
	if err != nil {
		return nil, err
	}
	var options []kgo.Opt
	protocol := strings.ToUpper(properties["security.protocol"])
	switch protocol {
	case "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL":
	default:
		return nil, fmt.Errorf("%s: security.protocol must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", file)
	}
	if strings.HasPrefix(protocol, "SASL_") {
		mechanism, err := saslMechanism(properties)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		options = append(options, kgo.SASL(mechanism))
	}
	if strings.HasSuffix(protocol, "SSL") {
		config, err := tlsConfig(properties)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		options = append(options, kgo.DialTLSConfig(config))
	}
	return options, nil
}

func readProperties(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("KAFKA_PROPERTIES_FILE: %w", err)
	}
	properties := make(map[string]string)
	for number, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, hasValue := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !hasValue {
			return nil, fmt.Errorf("%s: line %d is not name=value", file, number+1)
		}
		if !knownProperties[name] {
			return nil, fmt.Errorf("%s: this program does not know the property %s", file, name)
		}
		properties[name] = strings.TrimSpace(value)
	}
	return properties, nil
}

func saslMechanism(properties map[string]string) (sasl.Mechanism, error) {
	user, password := properties["sasl.username"], properties["sasl.password"]
	switch properties["sasl.mechanism"] {
	case "PLAIN":
		return plain.Auth{User: user, Pass: password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism(), nil
	}
	return nil, errors.New("sasl.mechanism must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
}

// tlsConfig trusts the authorities of the system if the file names no others.
func tlsConfig(properties map[string]string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := properties["ssl.ca.location"]; file != "" {
		authorities, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("ssl.ca.location: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(authorities) {
			return nil, errors.New("ssl.ca.location must be a PEM file with certificates")
		}
	}
	if file := properties["ssl.certificate.location"]; file != "" {
		certificate, err := tls.LoadX509KeyPair(file, properties["ssl.key.location"])
		if err != nil {
			return nil, fmt.Errorf("ssl.certificate.location and ssl.key.location: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}
