package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
)

const requestTimeout = 15 * time.Second

// The waits before the second and each later try. Standard Webhooks proposes retries for days. A
// consumer must poll again within minutes, so the program gives up earlier: it then ends without
// the commit, and Kafka delivers the event again after its restart.
var retryWaits = []time.Duration{time.Second, 5 * time.Second, 15 * time.Second, 30 * time.Second}

// webhook sends events that are signed as Standard Webhooks (standardwebhooks.com) describes.
type webhook struct {
	url    string
	secret []byte
	client http.Client
	isGone bool
}

// newWebhook returns nil if there is no address.
func newWebhook(url, secretFile string) (*webhook, error) {
	if url == "" {
		return nil, nil
	}
	text, err := os.ReadFile(secretFile)
	if err != nil {
		return nil, fmt.Errorf("WEBHOOK_URL needs WEBHOOK_SECRET_FILE: %w", err)
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(string(text)), "whsec_"))
	if err != nil || len(secret) == 0 {
		return nil, fmt.Errorf("%s must contain whsec_ and the secret in base64", secretFile)
	}
	return &webhook{url: url, secret: secret, client: http.Client{Timeout: requestTimeout}}, nil
}

// send retries until the receiver accepts the event. A receiver that answers 410 Gone gets no more
// events.
func (w *webhook) send(ctx context.Context, event *cloudevents.Event) error {
	if w == nil || w.isGone {
		return nil
	}
	body, err := json.Marshal(event)
	if err != nil {
		return err
	}
	id := webhookID(event.ID())
	for try := 0; ; try++ {
		status, err := w.post(ctx, id, body)
		switch {
		case err == nil && status/100 == 2:
			return nil
		case err == nil && status == http.StatusGone:
			slog.Warn("the webhook's receiver answered 410 Gone: it gets no more events")
			w.isGone = true
			return nil
		case try == len(retryWaits):
			return fmt.Errorf("the webhook was not accepted: event %s, status %d, error %v", id, status, err)
		}
		slog.Warn("webhook failed, next try follows", "id", id, "status", status, "error", err)
		select {
		case <-time.After(retryWaits[try]):
		case <-ctx.Done():
			return fmt.Errorf("stopped before the webhook of event %s was accepted: %w", id, ctx.Err())
		}
	}
}

// webhookID returns the percent-encoded id of an event. A header has no line breaks and no letters
// outside ASCII, and a dot separates the signed parts. The examples in all languages return the same.
func webhookID(id string) string {
	return strings.NewReplacer("+", "%20", ".", "%2E").Replace(url.QueryEscape(id))
}

// post makes one request. The id of the webhook belongs to the id of the event, so the receiver can
// drop an event that it has already got.
func (w *webhook) post(ctx context.Context, id string, body []byte) (int, error) {
	// A request that has begun is finished, also after SIGTERM.
	request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	signature := hmac.New(sha256.New, w.secret)
	fmt.Fprintf(signature, "%s.%s.%s", id, timestamp, body)
	request.Header.Set("content-type", structuredType)
	request.Header.Set("webhook-id", id)
	request.Header.Set("webhook-timestamp", timestamp)
	request.Header.Set("webhook-signature", "v1,"+base64.StdEncoding.EncodeToString(signature.Sum(nil)))
	response, err := w.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	return response.StatusCode, err
}
