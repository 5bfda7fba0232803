// Stress makes, commits, views and removes snapshots from several clients at a time, each with a connection of its own,
// and reports every answer that is not the expected one.
//
// With -journal every call is recorded before it is sent and after it is answered. A later run with -check compares the
// journals with the snapshots that exist: an answered call has happened, and an unanswered one has happened or has not.
// A server that is stopped and not killed answers what it has done: with -stopped, no unanswered call may have happened.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

var (
	address     = flag.String("address", "", "the `socket` of the server, or of containerd")
	snapshotter = flag.String("snapshotter", "unpack", "the name of the snapshotter")
	namespace   = flag.String("namespace", "", "the namespace of containerd; snapshots get a label that keeps them")
	clients     = flag.Int("clients", 8, "clients at a time")
	shared      = flag.Bool("shared", false, "one connection for all clients, as containerd has")
	cycles      = flag.Int64("cycles", 0, "cycles of all clients together; 0: until SIGTERM")
	deadline    = flag.Duration("deadline", 0, "calls get deadlines between 0 and this; 0: none")
	journals    = flag.String("journal", "", "the `directory` of the journals")
	check       = flag.Bool("check", false, "compare the journals with what exists, and remove that")
	stopped     = flag.Bool("stopped", false, "with -check: the server was only stopped, so that no unanswered call has happened")
)

func main() {
	flag.Parse()
	run := stress
	if *check {
		run = checkJournals
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// connect returns a client with a connection of its own.
func connect() (snapshots.Snapshotter, error) {
	again := backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1, MaxDelay: 20 * time.Millisecond}
	conn, err := grpc.NewClient("unix://"+*address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: time.Second}))
	if err != nil {
		return nil, err
	}
	return proxy.NewSnapshotter(api.NewSnapshotsClient(conn), *snapshotter), nil
}

// newContext returns the context of a call, with the namespace.
func newContext() context.Context {
	if *namespace == "" {
		return context.Background()
	}
	return namespaces.WithNamespace(context.Background(), *namespace)
}

// options returns what a snapshot is made with: containerd collects snapshots that nothing keeps.
func options() []snapshots.Opt {
	if *namespace == "" {
		return nil
	}
	return []snapshots.Opt{snapshots.WithLabels(map[string]string{"containerd.io/gc.root": time.Now().Format(time.RFC3339)})}
}

// totals counts what all clients have done.
type totals struct {
	cycles, calls, unanswered atomic.Int64
	mutex                     sync.Mutex
	unexpected                map[string]int
}

func (t *totals) report(call string, err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	line := fmt.Sprintf("%s: %v", call, err)
	if len(t.unexpected) < 20 {
		t.unexpected[line]++
	}
}

func stress() error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	var isOver atomic.Bool
	go func() {
		<-stop
		isOver.Store(true)
	}()
	sum := totals{unexpected: map[string]int{}}
	var left atomic.Int64
	left.Store(*cycles)
	var group sync.WaitGroup
	var connection snapshots.Snapshotter
	for number := range *clients {
		if number == 0 || !*shared {
			var err error
			if connection, err = connect(); err != nil {
				return err
			}
		}
		client, err := newClient(number, connection, &sum)
		if err != nil {
			return err
		}
		group.Go(func() {
			for cycle := 0; !isOver.Load() && (*cycles == 0 || left.Add(-1) >= 0); cycle++ {
				client.cycle(cycle)
			}
		})
	}
	group.Wait()
	fmt.Printf("cycles=%d calls=%d unanswered=%d unexpected=%d\n",
		sum.cycles.Load(), sum.calls.Load(), sum.unanswered.Load(), len(sum.unexpected))
	for line, count := range sum.unexpected {
		fmt.Printf("unexpected: %d times %s\n", count, line)
	}
	if len(sum.unexpected) > 0 {
		return fmt.Errorf("%d answers were unexpected", len(sum.unexpected))
	}
	return nil
}

// client makes one call after the other.
type client struct {
	snapshots.Snapshotter
	name    string
	sum     *totals
	journal *journal
}

func newClient(number int, connection snapshots.Snapshotter, sum *totals) (*client, error) {
	name := fmt.Sprintf("%d-%d-%d", time.Now().UnixNano(), os.Getpid(), number)
	result := &client{connection, name, sum, nil}
	if *journals == "" {
		return result, nil
	}
	var err error
	result.journal, err = newJournal(filepath.Join(*journals, name))
	return result, err
}

// cycle makes a snapshot, commits it, views it, and removes both. It ends early at an unanswered call.
func (c *client) cycle(number int) {
	key := fmt.Sprintf("%s/%d", c.name, number)
	base, view := key+"/base", key+"/view"
	_ = c.call("Prepare", []change{{key, active}}, func(ctx context.Context) error {
		_, err := c.Prepare(ctx, key, "", options()...)
		return err
	}) && c.call("Commit", []change{{key, missing}, {base, committed}}, func(ctx context.Context) error {
		return c.Commit(ctx, base, key, options()...)
	}) && c.call("View", []change{{view, viewed}}, func(ctx context.Context) error {
		_, err := c.View(ctx, view, base, options()...)
		return err
	}) && c.call("Remove", []change{{view, missing}}, func(ctx context.Context) error {
		return c.Remove(ctx, view)
	}) && c.call("Remove", []change{{base, missing}}, func(ctx context.Context) error {
		return c.Remove(ctx, base)
	}) && c.sum.cycles.Add(1) > 0
}

// call makes a call, and returns whether it has succeeded. A call without an answer is expected only where the connection
// was lost (Unavailable) or its deadline is over.
func (c *client) call(name string, changes []change, body func(context.Context) error) bool {
	ctx := newContext()
	if *deadline > 0 {
		limited, cancel := context.WithTimeout(ctx, time.Duration(rand.Int64N(int64(*deadline))))
		defer cancel()
		ctx = limited
	}
	c.sum.calls.Add(1)
	c.journal.write(sent, changes)
	err := body(ctx)
	switch {
	case err == nil:
		c.journal.write(answered, changes)
		return true
	case *journals != "" && (errdefs.IsUnavailable(err) || *deadline > 0 && errdefs.IsDeadlineExceeded(err)):
		c.sum.unanswered.Add(1)
		// Time for a server to start.
		time.Sleep(20 * time.Millisecond)
	default:
		c.sum.report(name, err)
	}
	return false
}
