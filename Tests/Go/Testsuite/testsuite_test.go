// containerd's tests of a snapshotter against a server, by the client that containerd itself uses.
package main

import (
	"context"
	"flag"
	"fmt"
	"sync/atomic"
	"testing"

	api "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

var (
	address = flag.String("address", "", "the `socket` of the server")
	kind    = flag.String("kind", "", "the kind of snapshots: the server calls its snapshotters KIND-1, KIND-2, …")
)

func TestSnapshotter(t *testing.T) {
	var count atomic.Int32
	testsuite.SnapshotterSuite(t, *kind,
		func(context.Context, string) (snapshots.Snapshotter, func() error, error) {
			conn, err := grpc.NewClient("unix://"+*address, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return nil, nil, err
			}
			name := fmt.Sprintf("%s-%d", *kind, count.Add(1))
			return proxy.NewSnapshotter(api.NewSnapshotsClient(conn), name), conn.Close, nil
		})
}
