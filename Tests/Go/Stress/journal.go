package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// state is what a key can be.
type state string

const (
	missing   state = "missing"
	active    state = "active"
	viewed    state = "view"
	committed state = "committed"
)

// change is what a call makes of a key.
type change struct {
	key   string
	state state
}

// moment is the first field of a journal's line.
type moment string

const (
	sent     moment = "sent"
	answered moment = "answered"
)

// journal has a line for every call that is about to be sent, and one for every call that has been answered. It
// survives the death of its process.
type journal struct{ file *os.File }

func newJournal(path string) (*journal, error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0600)
	return &journal{file}, err
}

func (j *journal) write(when moment, changes []change) {
	if j == nil {
		return
	}
	line := string(when)
	for _, change := range changes {
		line += " " + change.key + "=" + string(change.state)
	}
	if _, err := j.file.WriteString(line + "\n"); err != nil {
		panic(err)
	}
}

// history is what a client's journal says of its keys.
type history struct {
	possible map[string][]state
	// unanswered has the changes of calls that have happened as a whole or not at all.
	unanswered map[string][]change
	// keys has those that may exist, oldest first.
	keys []string
}

func readJournal(path string) (*history, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	h := &history{possible: map[string][]state{}, unanswered: map[string][]change{}}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// A client that is killed may leave a part of a line.
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		var changes []change
		for _, field := range fields[1:] {
			key, value, _ := strings.Cut(field, "=")
			changes = append(changes, change{key, state(value)})
		}
		h.add(moment(fields[0]), changes)
	}
	return h, lines.Err()
}

func (h *history) add(when moment, changes []change) {
	if when == sent {
		h.unanswered[changes[0].key] = changes
	} else {
		delete(h.unanswered, changes[0].key)
	}
	for _, change := range changes {
		before, isKnown := h.possible[change.key]
		if !isKnown {
			before = []state{missing}
			h.keys = append(h.keys, change.key)
		}
		switch {
		case when == answered:
			before = []state{change.state}
		case !*stopped:
			before = append(slices.Clone(before), change.state)
		}
		h.possible[change.key] = before
	}
}

// checkJournals compares all journals with what exists, removes that, and requires that nothing is left.
func checkJournals() error {
	client, err := connect()
	if err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(*journals, "*"))
	if err != nil {
		return err
	}
	// What clients that were killed have asked for last may still be at work.
	time.Sleep(500 * time.Millisecond)
	var keys, unanswered, untrue int
	for _, path := range paths {
		h, err := readJournal(path)
		if err != nil {
			return err
		}
		wrong, err := h.check(client)
		if err != nil {
			return err
		}
		for _, line := range wrong {
			fmt.Println("untrue:", line)
		}
		keys, unanswered, untrue = keys+len(h.keys), unanswered+len(h.unanswered), untrue+len(wrong)
	}
	var left int
	if err := client.Walk(newContext(), func(_ context.Context, info snapshots.Info) error {
		fmt.Println("left:", info.Name)
		left++
		return nil
	}); err != nil {
		return err
	}
	fmt.Printf("journals=%d keys=%d unanswered=%d untrue=%d left=%d\n", len(paths), keys, unanswered, untrue, left)
	if untrue+left > 0 {
		return fmt.Errorf("%d answers were untrue, and %d snapshots are left", untrue, left)
	}
	return nil
}

func (h *history) check(client snapshots.Snapshotter) (wrong []string, err error) {
	found := map[string]state{}
	for key, possible := range h.possible {
		if found[key], err = find(client, key); err != nil {
			return nil, err
		}
		if !slices.Contains(possible, found[key]) {
			wrong = append(wrong, fmt.Sprintf("%s is %s, not one of %v", key, found[key], possible))
		}
	}
	// containerd has a record of its own, which an end of the server between the two leaves behind.
	if *namespace == "" {
		for _, changes := range h.unanswered {
			first := found[changes[0].key] == changes[0].state
			for _, change := range changes[1:] {
				if (found[change.key] == change.state) != first {
					wrong = append(wrong, fmt.Sprintf("a part of %v has happened", changes))
				}
			}
		}
	}
	for _, key := range slices.Backward(h.keys) {
		if found[key] == missing && *namespace == "" {
			continue
		}
		if err := client.Remove(newContext(), key); err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("cannot remove %s: %w", key, err)
		}
	}
	return wrong, nil
}

func find(client snapshots.Snapshotter, key string) (state, error) {
	info, err := client.Stat(newContext(), key)
	switch {
	case errdefs.IsNotFound(err):
		return missing, nil
	case err != nil:
		return "", err
	}
	return map[snapshots.Kind]state{
		snapshots.KindActive: active, snapshots.KindView: viewed, snapshots.KindCommitted: committed,
	}[info.Kind], nil
}
