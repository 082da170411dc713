package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"weir.test/conformance/weir"
)

// method makes a call; the client's side of its stream ends once `end` is closed. What it gives reads the next answer, io.EOF at the end.
type method func(ctx context.Context, peer clients, send any, end <-chan struct{}) (func() (proto.Message, error), error)

var methods = map[string]method{
	"NewArtifact":         one(storage, weir.ArtifactStorageClient.NewArtifact),
	"ResolvePath":         one(storage, weir.ArtifactStorageClient.ResolvePath),
	"MkdirAll":            one(storage, weir.ArtifactStorageClient.MkdirAll),
	"Write":               upload(storage, weir.ArtifactStorageClient.Write),
	"Archive":             upload(storage, weir.ArtifactStorageClient.Archive),
	"Read":                download(storage, weir.ArtifactStorageClient.Read),
	"Lock":                both(storage, weir.ArtifactStorageClient.Lock),
	"Symlink":             one(storage, weir.ArtifactStorageClient.Symlink),
	"RemoveAllButCurrent": one(storage, weir.ArtifactStorageClient.RemoveAllButCurrent),
	"Stat":                one(storage, weir.ArtifactStorageClient.Stat),
	"Verify":              one(storage, weir.ArtifactStorageClient.Verify),
	"VerifyMany":          both(storage, weir.ArtifactStorageClient.VerifyMany),
	"Remove":              one(storage, weir.ArtifactStorageClient.Remove),
	"RemoveAll":           one(storage, weir.ArtifactStorageClient.RemoveAll),
	"GarbageCollect":      one(storage, weir.ArtifactStorageClient.GarbageCollect),
	"List":                download(storage, weir.ArtifactStorageClient.List),
	"Watch":               download(storage, weir.ArtifactStorageClient.Watch),
	"GetInfo":             one(storage, weir.ArtifactStorageClient.GetInfo),
	"SetServing":          one(storage, weir.ArtifactStorageClient.SetServing),
	"Build":               both(builder, weir.ArtifactBuilderClient.Build),
	"FindDirectories":     download(builder, weir.ArtifactBuilderClient.FindDirectories),
}

func storage(peer clients) weir.ArtifactStorageClient { return peer.storage }
func builder(peer clients) weir.ArtifactBuilderClient { return peer.builder }

// one is a method with one request and one answer.
func one[C, Q, A any](of func(clients) C, call func(C, context.Context, *Q, ...grpc.CallOption) (*A, error)) method {
	return func(ctx context.Context, peer clients, send any, _ <-chan struct{}) (func() (proto.Message, error), error) {
		request := new(Q)
		if err := decode(send, request); err != nil {
			return nil, err
		}
		answer, err := call(of(peer), ctx, request)
		return once(message(answer)), err
	}
}

// download is a method with one request and a stream of answers.
func download[C, Q, A any](
	of func(clients) C,
	call func(C, context.Context, *Q, ...grpc.CallOption) (grpc.ServerStreamingClient[A], error),
) method {
	return func(ctx context.Context, peer clients, send any, _ <-chan struct{}) (func() (proto.Message, error), error) {
		request := new(Q)
		if err := decode(send, request); err != nil {
			return nil, err
		}
		answers, err := call(of(peer), ctx, request)
		if err != nil {
			return nil, err
		}
		return each(answers.Recv), nil
	}
}

// upload is a method with a stream of requests and one answer.
func upload[C, Q, A any](
	of func(clients) C,
	call func(C, context.Context, ...grpc.CallOption) (grpc.ClientStreamingClient[Q, A], error),
) method {
	return func(ctx context.Context, peer clients, send any, end <-chan struct{}) (func() (proto.Message, error), error) {
		stream, err := call(of(peer), ctx)
		if err != nil {
			return nil, err
		}
		sent := make(chan error, 1)
		go func() {
			sent <- errors.Join(sending(ctx, send, end, stream.Send), stream.CloseSend())
		}()
		// The server may have enough before the client's side ends.
		answer := new(A)
		err = stream.RecvMsg(answer)
		select {
		case wrong := <-sent:
			if wrong != nil {
				return nil, wrong
			}
		default:
		}
		return once(message(answer)), err
	}
}

// both is a method with streams both ways.
func both[C, Q, A any](
	of func(clients) C,
	call func(C, context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[Q, A], error),
) method {
	return func(ctx context.Context, peer clients, send any, end <-chan struct{}) (func() (proto.Message, error), error) {
		stream, err := call(of(peer), ctx)
		if err != nil {
			return nil, err
		}
		sent := make(chan error, 1)
		go func() {
			sent <- errors.Join(sending(ctx, send, end, stream.Send), stream.CloseSend())
		}()
		return func() (proto.Message, error) {
			select {
			case err := <-sent:
				if err != nil {
					return nil, err
				}
			default:
			}
			return each(stream.Recv)()
		}, nil
	}
}

// sending sends all messages, and returns when the client's side is to end. A server that wants no more has the last word.
func sending[Q any](ctx context.Context, send any, end <-chan struct{}, to func(*Q) error) error {
	items, _ := send.([]any)
	for _, item := range items {
		times := int64(1)
		if repeated, ok := item.(map[string]any)["$times"].(json.Number); ok {
			times, _ = repeated.Int64()
			item = item.(map[string]any)["message"]
		}
		request := new(Q)
		if err := decode(item, request); err != nil {
			return err
		}
		for range times {
			if err := to(request); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
	select {
	case <-end:
	case <-ctx.Done():
	}
	return nil
}

func message(answer any) proto.Message { return answer.(proto.Message) }

func once(answer proto.Message) func() (proto.Message, error) {
	return func() (proto.Message, error) {
		if answer == nil {
			return nil, io.EOF
		}
		last := answer
		answer = nil
		return last, nil
	}
}

func each[A any](receive func() (*A, error)) func() (proto.Message, error) {
	return func() (proto.Message, error) {
		answer, err := receive()
		return message(answer), err
	}
}

// decode reads a message out of its JSON.
func decode(value, into any) error {
	if value == nil {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(text, message(into))
}

// encode writes a message as its JSON.
func encode(answer proto.Message) (any, error) {
	text, err := protojson.Marshal(answer)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	var value any
	err = decoder.Decode(&value)
	return value, err
}
