package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"weir.test/conformance/weir"
)

// How long a call may take that says nothing else.
const deadline = 30 * time.Second

// clients are the generated clients of a peer.
type clients struct {
	storage weir.ArtifactStorageClient
	builder weir.ArtifactBuilderClient
}

type runner struct {
	setup *Setup
	peers map[string]clients
}

func newRunner(setup *Setup) (*runner, error) {
	peers := map[string]clients{}
	for name, peer := range setup.Peers {
		connection, err := peer.connect()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		peers[name] = clients{weir.NewArtifactStorageClient(connection), weir.NewArtifactBuilderClient(connection)}
	}
	return &runner{setup, peers}, nil
}

func (r *runner) variables(name string) map[string]any {
	variables := maps.Clone(r.setup.Variables)
	namespace := variables["namespace"].(string)
	controller := namespace + "-" + name
	variables["name"] = name
	variables["dir"] = "externalartifact/" + namespace + "/" + name
	variables["artifact"] = map[string]any{"kind": "ExternalArtifact", "namespace": namespace, "name": name}
	variables["controller"] = controller
	variables["me"] = map[string]any{"owner": controller + "/1"}
	return variables
}

// state is what a case has by now.
type state struct {
	variables map[string]any
	open      map[string]*call
}

func (r *runner) run(one Case) error {
	state := &state{r.variables(one.Name), map[string]*call{}}
	defer func() {
		for _, open := range state.open {
			open.cancel()
		}
	}()
	for number, step := range one.Steps {
		if err := r.step(step, state); err != nil {
			return fmt.Errorf("step %d (%s): %w", number, step.Call+step.On+step.Close+step.Tell, err)
		}
	}
	return nil
}

func (r *runner) step(step Step, state *state) error {
	send, err := fill(step.Send, state.variables)
	if err != nil {
		return err
	}
	switch {
	case step.Call != "":
		begun, err := r.begin(step, send)
		return answers(begun, err, step, step.Open, state)
	case step.On != "":
		begun := state.open[step.On]
		delete(state.open, step.On)
		return answers(begun, nil, step, step.On, state)
	case step.Close != "":
		begun := state.open[step.Close]
		delete(state.open, step.Close)
		close(begun.end)
		return answers(begun, nil, step, "", state)
	}
	body, err := json.Marshal(send)
	if err != nil {
		return err
	}
	told, err := http.Post(r.setup.Control+"/"+step.Tell, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer told.Body.Close()
	if told.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", step.Tell, told.Status)
	}
	return nil
}

// call is one whose answers are being read.
type call struct {
	next   func() (proto.Message, error)
	end    chan struct{}
	cancel context.CancelFunc
}

func (r *runner) begin(step Step, send any) (*call, error) {
	peer, ok := r.peers[cmp.Or(step.As, "tenant")]
	method, known := methods[step.Call]
	if !ok || !known {
		return nil, fmt.Errorf("there is no peer %q or no method %q", step.As, step.Call)
	}
	limit := deadline
	if step.DeadlineMS > 0 {
		limit = time.Duration(step.DeadlineMS) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	begun := &call{end: make(chan struct{}), cancel: cancel}
	if !step.Hold && step.Open == "" {
		close(begun.end)
	}
	var err error
	begun.next, err = method(ctx, peer, send, begun.end)
	return begun, err
}

// answers reads and compares: all answers, or those that are expected of a stream that stays open under a name.
func answers(begun *call, failed error, step Step, name string, state *state) error {
	var expected []any
	said := true
	switch {
	case step.Answers != nil:
		expected = *step.Answers
	case step.Answer != nil:
		expected = []any{step.Answer}
	default:
		said = false
	}
	stays := name != "" && step.Error == nil
	found := []any{}
	for failed == nil && (!stays || len(found) < len(expected)) {
		answer, err := begun.next()
		if err != nil {
			failed = err
			break
		}
		value, err := encode(answer)
		if err != nil {
			return err
		}
		found = append(found, value)
	}
	if stays && begun != nil {
		state.open[name] = begun
	} else if begun != nil {
		begun.cancel()
	}
	if errors.Is(failed, io.EOF) && !stays {
		failed = nil
	}
	if err := ends(step.Error, failed, state.variables); err != nil || !said {
		return err
	}
	if step.Unordered {
		return unordered(expected, found, state.variables)
	}
	return fits(expected, found, "answers", state.variables)
}

func unordered(expected, found []any, variables map[string]any) error {
	for _, pattern := range expected {
		at := position(pattern, found, variables)
		if at < 0 {
			return fmt.Errorf("%s is not among %s", shown(pattern), shown(found))
		}
		if err := fits(pattern, found[at], "answer", variables); err != nil {
			return err
		}
		found = slices.Delete(found, at, at+1)
	}
	return fits([]any{}, found, "answers", variables)
}

// ends checks how a call ended.
func ends(expected *Expected, failed error, variables map[string]any) error {
	if expected == nil && failed == nil {
		return nil
	}
	if expected == nil || failed == nil {
		return fmt.Errorf("it ended with %v, which is not expected", failed)
	}
	ended := status.Convert(failed)
	reason, field := details(ended)
	message, err := fill(expected.Message, variables)
	if err != nil {
		return err
	}
	var code codes.Code
	if expected.Code == nil {
		code = ended.Code()
	} else if err := code.UnmarshalJSON([]byte(strconv.Quote(*expected.Code))); err != nil {
		return err
	}
	if code != ended.Code() || !is(expected.Reason, reason) || !is(expected.Field, field) ||
		!strings.Contains(ended.Message(), message.(string)) {
		wanted, _ := json.Marshal(expected)
		return fmt.Errorf("%s expected, found %s %s %s: %s", wanted, ended.Code(), reason, field, ended.Message())
	}
	return nil
}

func is(expected *string, found string) bool {
	return expected == nil || *expected == found
}

// details are reason and field of an error of Weir's.
func details(ended *status.Status) (reason, field string) {
	for _, detail := range ended.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.Domain == "weir.dev" {
				reason = detail.Reason
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				field = violation.Field
			}
		}
	}
	return reason, field
}
