package scripted

import "github.com/valico-hpc/valico/broker"

// do lets time pass and then changes something.
func (c *Cluster) do(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pass()
	f()
}

// Release lets a launch end that runs until then.
func (c *Cluster) Release(l broker.Launch) {
	c.do(func() {
		if j := c.find(l); j.word == runs && j.plan.Until {
			c.end(j, "", j.plan.Exit)
		}
	})
}

// Requeue puts a running launch back into the queue, from where the cluster
// starts it again.
func (c *Cluster) Requeue(l broker.Launch) {
	c.do(func() {
		if j := c.find(l); j.word == runs {
			c.vacate(j)
			j.word = waits
			j.restarts++
			c.ripen(j, c.cfg.Again)
			c.fill()
		}
	})
}

// End ends a running launch as the cluster would: preempted, with its node, for
// its memory.
func (c *Cluster) End(l broker.Launch, o broker.Outcome) {
	c.do(func() {
		if j := c.find(l); j.word == runs {
			c.end(j, o, 0)
		}
	})
}

// Break leaves an account without a budget: what it submits from now on waits
// for ever.
func (c *Cluster) Break(account string) { c.do(func() { c.broke[account] = true }) }

// LoseAnswers loses the answers to the next n submissions of a launch, which
// take effect all the same.
func (c *Cluster) LoseAnswers(l broker.Launch, n int) { c.do(func() { c.losing[l.Name] = n }) }

// Down takes the cluster's front away, not what runs; Up brings it back.
func (c *Cluster) Down() { c.do(func() { c.down = true }) }

// Up ends Down.
func (c *Cluster) Up() { c.do(func() { c.down = false }) }

// Hang lets every call wait for its deadline, until Resume.
func (c *Cluster) Hang() {
	c.do(func() {
		if c.hung == nil {
			c.hung = make(chan struct{})
		}
	})
}

// Resume ends Hang; the calls that wait then take effect.
func (c *Cluster) Resume() {
	c.do(func() {
		if c.hung != nil {
			close(c.hung)
			c.hung = nil
		}
	})
}

// Expire refuses every credential of now; a Scheduler's Renew takes a new one.
func (c *Cluster) Expire() { c.do(func() { c.epoch++ }) }

// Gibber says a word that nobody knows for every state, or ends that.
func (c *Cluster) Gibber(on bool) { c.do(func() { c.gibberish = on }) }

// LoseAccounting takes the accounting away, or brings it back with nothing lost.
func (c *Cluster) LoseAccounting(on bool) { c.do(func() { c.unaccounted = on }) }

// Starts counts how often a launch really started.
func (c *Cluster) Starts(l broker.Launch) int {
	var n int
	c.do(func() {
		if j, ok := c.jobs[keyOf(l)]; ok {
			n = j.starts
		}
	})
	return n
}

// Noted reports whether a launch wrote TERM down.
func (c *Cluster) Noted(l broker.Launch) bool {
	var noted bool
	c.do(func() {
		if j, ok := c.jobs[keyOf(l)]; ok {
			noted = j.noted
		}
	})
	return noted
}

// Calls counts the calls of every Scheduler.
func (c *Cluster) Calls() int64 {
	var n int64
	c.do(func() { n = c.calls })
	return n
}

// Submitted lists the launches that the cluster has, in order of submission.
func (c *Cluster) Submitted() []broker.Launch {
	var out []broker.Launch
	c.do(func() {
		for _, j := range c.order {
			out = append(out, j.launch)
		}
	})
	return out
}
