package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// report says what happens, one JSON object a line.
type report struct {
	lock     sync.Mutex
	lines    *json.Encoder
	identity string
	leading  bool
	written  int
	failed   int
}

// event is one line. Which fields are there depends on what happened.
type event struct {
	// Event is acquired, lost, new-leader, first-write or ended.
	Event    string    `json:"event"`
	At       time.Time `json:"at"`
	Identity string    `json:"identity"`
	// Leader is whom the Lease names, in new-leader.
	Leader string `json:"leader,omitempty"`
	// Writes is there in lost and ended: what became of the writes to the ConfigMap so far.
	Writes *writes `json:"writes,omitempty"`
}

type writes struct {
	OK     int `json:"ok"`
	Failed int `json:"failed"`
}

func newReport(out io.Writer, identity string) *report {
	return &report{lines: json.NewEncoder(out), identity: identity}
}

// say wants the lock held. A reader that went away is no reason to stop leading.
func (r *report) say(e event) {
	e.At, e.Identity = time.Now().UTC(), r.identity
	_ = r.lines.Encode(e)
}

func (r *report) acquired() {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.leading = true
	r.say(event{Event: "acquired"})
}

// stopped is called by client-go at the end of each campaign, also of one that was never won.
func (r *report) stopped() {
	r.lock.Lock()
	defer r.lock.Unlock()
	if r.leading {
		r.leading = false
		r.say(event{Event: "lost", Writes: r.counts()})
	}
}

func (r *report) newLeader(identity string) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.say(event{Event: "new-leader", Leader: identity})
}

func (r *report) wrote(err error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if err != nil {
		r.failed++
		return
	}
	r.written++
	if r.written == 1 {
		r.say(event{Event: "first-write"})
	}
}

func (r *report) ended() {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.say(event{Event: "ended", Writes: r.counts()})
}

func (r *report) counts() *writes { return &writes{OK: r.written, Failed: r.failed} }
