package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/binding/spec"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	structuredType = "application/cloudevents+json"
	prefix         = "ce_"
)

var versions = spec.WithPrefix(prefix)

// decode returns the CloudEvent of a record in structured or in binary mode.
//
// The Kafka bindings of the SDK need the types of another client (sarama or confluent-kafka-go).
// So this function reads the two modes by the Kafka binding of CloudEvents, and the SDK does the
// rest: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
func decode(record *kgo.Record) (*cloudevents.Event, error) {
	headers := make(map[string]string, len(record.Headers))
	for _, header := range record.Headers {
		headers[header.Key] = string(header.Value)
	}
	event := cloudevents.New()
	if strings.HasPrefix(headers["content-type"], structuredType) {
		if err := json.Unmarshal(record.Value, &event); err != nil {
			return nil, err
		}
		return &event, event.Validate()
	}
	version := versions.Version(headers["ce_specversion"])
	if headers["ce_specversion"] == "" || version == nil {
		return nil, errors.New("it is not a CloudEvent")
	}
	event.Context = version.NewContext()
	for name, value := range headers {
		if strings.HasPrefix(name, prefix) {
			if err := version.SetAttribute(event.Context, name, value); err != nil {
				return nil, fmt.Errorf("attribute %s: %w", name, err)
			}
		}
	}
	if contentType, ok := headers["content-type"]; ok {
		event.SetDataContentType(contentType)
	}
	event.DataEncoded = record.Value
	return &event, event.Validate()
}

// line is what the program prints for an event. Unknown members of the event are ignored.
type line struct {
	ID        string   `json:"id"`
	Job       string   `json:"job"`
	Step      int64    `json:"step"`
	Model     string   `json:"model"`
	Loss      *float64 `json:"loss"` // null: the service does not know the loss
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	ReplayID  any      `json:"replayid,omitempty"` // only an event that was published again has it
}

func newLine(event *cloudevents.Event, record *kgo.Record) (line, error) {
	var data struct {
		Checkpoint *struct {
			Job   string `json:"fine_tuning_job_id"`
			Step  int64  `json:"step_number"`
			Model string `json:"fine_tuned_model_checkpoint"`
		} `json:"checkpoint"`
		Evaluation struct {
			Loss *float64 `json:"loss"`
		} `json:"evaluation"`
	}
	if err := json.Unmarshal(event.Data(), &data); err != nil {
		return line{}, err
	}
	if data.Checkpoint == nil {
		return line{}, errors.New("it has no checkpoint")
	}
	return line{
		ID: event.ID(), Job: data.Checkpoint.Job, Step: data.Checkpoint.Step, Model: data.Checkpoint.Model,
		Loss: data.Evaluation.Loss, Partition: record.Partition, Offset: record.Offset,
		ReplayID: event.Extensions()["replayid"],
	}, nil
}
