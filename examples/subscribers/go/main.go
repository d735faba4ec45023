// Command subscriber reads checkpoint ready events and prints one JSON line for each event.
// If WEBHOOK_URL is set, it also sends each event to this address.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	readyType      = "fine_tuning.job.checkpoint.ready"
	connectTimeout = 10 * time.Second
	commitTimeout  = 10 * time.Second
	pollRecords    = 100
	// Longer than all tries of one webhook.
	rebalanceTimeout = 5 * time.Minute
)

type settings struct {
	servers, group, topic, isolation, propertiesFile, webhookURL, webhookSecretFile string
}

// subscriber handles events. handled has the ids of the events that this process has handled.
type subscriber struct {
	client    *kgo.Client
	webhook   *webhook // nil: no webhook
	handled   *recentIDs
	everyCopy bool
}

func main() {
	config := settings{
		servers:           environment("BOOTSTRAP_SERVERS", "localhost:9092"),
		group:             environment("GROUP_ID", "model-registry-go"),
		topic:             environment("TOPIC", "fine-tuning.checkpoint-ready"),
		isolation:         environment("ISOLATION_LEVEL", "read_committed"),
		propertiesFile:    os.Getenv("KAFKA_PROPERTIES_FILE"),
		webhookURL:        os.Getenv("WEBHOOK_URL"),
		webhookSecretFile: os.Getenv("WEBHOOK_SECRET_FILE"),
	}
	isolation, err := isolationLevel(config.isolation)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	// After SIGTERM or SIGINT the program finishes the event in hand, commits and leaves the group.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, config, isolation); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// isolationLevel returns the options for ISOLATION_LEVEL.
//
// The service writes each transaction's events to the log before it commits. If the service
// crashes, these events stay in the log as aborted, and they are published again later. A
// read_committed consumer does not see them. The default of franz-go is read_uncommitted.
func isolationLevel(name string) ([]kgo.Opt, error) {
	switch name {
	case "read_committed":
		return []kgo.Opt{kgo.FetchIsolationLevel(kgo.ReadCommitted())}, nil
	case "read_uncommitted":
		return []kgo.Opt{kgo.FetchIsolationLevel(kgo.ReadUncommitted())}, nil
	case "client_default":
		return nil, nil
	}
	return nil, fmt.Errorf("ISOLATION_LEVEL must be read_committed or read_uncommitted, not %s", name)
}

func run(ctx context.Context, config settings, isolation []kgo.Opt) error {
	hook, err := newWebhook(config.webhookURL, config.webhookSecretFile)
	if err != nil {
		return err
	}
	security, err := securityOptions(config.propertiesFile)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(append(isolation, security...),
		kgo.SeedBrokers(strings.Split(config.servers, ",")...),
		kgo.ConsumerGroup(config.group),
		kgo.ConsumeTopics(config.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),    // commits are made after the handling
		kgo.BlockRebalanceOnPoll(), // no partition moves away while its events are handled
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.FetchMaxWait(20*time.Millisecond), // a longer wait can delay an event of another partition
	)...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance() // leaves the group
	if err := checkTopic(ctx, client, config); err != nil && ctx.Err() == nil {
		return err
	}
	reader := subscriber{client, hook, newRecentIDs(), config.isolation != "read_committed"}
	for ctx.Err() == nil {
		err := reader.poll(ctx)
		if errors.Is(err, context.Canceled) {
			slog.Warn("the event in hand is not committed", "error", err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// checkTopic returns an error if the brokers do not answer or the topic does not exist. A consumer of
// franz-go waits for both without a message.
func checkTopic(ctx context.Context, client *kgo.Client, config settings) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &config.topic
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{topic}
	request.AllowAutoTopicCreation = false
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return fmt.Errorf("the connection to %s failed: %w", config.servers, err)
	}
	for _, found := range response.Topics {
		err := kerr.ErrorForCode(found.ErrorCode)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("the topic %s does not exist at %s", config.topic, config.servers)
		}
		if err != nil {
			return fmt.Errorf("the topic %s cannot be read: %w", config.topic, err)
		}
	}
	return nil
}

// poll handles the next events and commits them. If an event fails, only the events before it are
// committed, so that Kafka delivers it again after a restart.
func (s *subscriber) poll(ctx context.Context) error {
	limit := pollRecords
	if s.webhook != nil {
		limit = 1 // a rebalance waits until the handling ends, at most rebalanceTimeout
	}
	fetches := s.client.PollRecords(ctx, limit)
	defer s.client.AllowRebalance()
	fetches.EachError(func(topic string, partition int32, err error) {
		if !errors.Is(err, context.Canceled) {
			slog.Error("fetch failed", "topic", topic, "partition", partition, "error", err)
		}
	})
	var done []*kgo.Record
	var failure error
	for records := fetches.RecordIter(); !records.Done() && ctx.Err() == nil; {
		record := records.Next()
		if failure = s.handle(ctx, record); failure != nil {
			break
		}
		done = append(done, record)
	}
	// Not ctx: it is already cancelled after SIGTERM.
	commit, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	return errors.Join(failure, s.client.CommitRecords(commit, done...))
}

// handle is idempotent by id: Kafka delivers an event again if the program ends before its commit.
// The ids in memory cover one process. Your own handler keeps them with its results, for example
// as a unique key in its database.
func (s *subscriber) handle(ctx context.Context, record *kgo.Record) error {
	event, err := decode(record)
	if err != nil {
		slog.Warn("skipped a record", "partition", record.Partition, "offset", record.Offset, "error", err)
		return nil
	}
	if event.Type() != readyType || (!s.everyCopy && s.handled.has(event.ID())) {
		return nil
	}
	line, err := newLine(event, record)
	if err != nil {
		slog.Warn("skipped an event", "id", event.ID(), "error", err)
		return nil
	}
	if err := s.webhook.send(ctx, event); err != nil {
		return err
	}
	s.handled.add(event.ID())
	return json.NewEncoder(os.Stdout).Encode(line)
}

func environment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
