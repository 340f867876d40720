// Package queue keeps work in order and hands it out to workers.
package queue

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrClosed is returned once a queue takes nothing more.
var ErrClosed = errors.New("queue: closed")

// Job is one piece of work.
type Job struct {
	ID       string
	Payload  []byte
	Attempts int
	Due      time.Time
}

// Queue holds jobs until they are due.
type Queue struct {
	mu      sync.Mutex
	ready   *sync.Cond
	jobs    []Job
	closed  bool
	retries int
}

// New makes a queue that tries each job so often.
func New(retries int) *Queue {
	q := &Queue{retries: retries}
	q.ready = sync.NewCond(&q.mu)
	return q
}

// Put adds a job behind all that are due no later.
func (q *Queue) Put(job Job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	at := len(q.jobs)
	for at > 0 && q.jobs[at-1].Due.After(job.Due) {
		at--
	}
	q.jobs = append(q.jobs, Job{})
	copy(q.jobs[at+1:], q.jobs[at:])
	q.jobs[at] = job
	q.ready.Signal()
	return nil
}

// Take waits for the next job.
func (q *Queue) Take() (Job, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.jobs) == 0 {
		if q.closed {
			return Job{}, ErrClosed
		}
		q.ready.Wait()
	}
	job := q.jobs[0]
	q.jobs = q.jobs[1:]
	return job, nil
}

// Run works until the queue is closed and empty.
func (q *Queue) Run(work func(Job) error) error {
	for {
		job, err := q.Take()
		if errors.Is(err, ErrClosed) {
			return nil
		}
		if err := work(job); err != nil {
			job.Attempts++
			if job.Attempts >= q.retries {
				return fmt.Errorf("job %s: %w", job.ID, err)
			}
			job.Due = time.Now().Add(time.Duration(job.Attempts) * time.Second)
			if err := q.Put(job); err != nil {
				return err
			}
		}
	}
}

// Close lets nothing more in.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.ready.Broadcast()
}
