package sim

import "time"

// item is something that happens at a moment: a frame arrives at an interface, or a thing is done.
type item struct {
	at    time.Duration // since the beginning of the world
	order uint64        // of those at one moment, the one put in first comes first
	nic   *nic
	frame []byte
	do    func()
}

// queue is a binary heap of items, the next one first.
type queue struct {
	items []item
	order uint64
}

func (q *queue) less(i, j int) bool {
	a, b := &q.items[i], &q.items[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}

func (q *queue) push(it item) {
	q.order++
	it.order = q.order
	q.items = append(q.items, it)
	for i := len(q.items) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q.less(i, parent) {
			break
		}
		q.items[i], q.items[parent] = q.items[parent], q.items[i]
		i = parent
	}
}

func (q *queue) pop() item {
	first := q.items[0]
	n := len(q.items) - 1
	q.items[0] = q.items[n]
	q.items[n] = item{}
	q.items = q.items[:n]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < n; child++ {
			if q.less(child, least) {
				least = child
			}
		}
		if least == i {
			return first
		}
		q.items[i], q.items[least] = q.items[least], q.items[i]
		i = least
	}
}
