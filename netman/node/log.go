package node

import "time"

// Limiter keeps the log from being filled by whoever can cause a line again and again: of one reason and source it lets one line a
// minute pass, and of all together Most. The zero value is ready. It has one owner.
type Limiter struct {
	Most int // lines a minute of all reasons and sources; 0: 256
	said map[logKey]time.Time
	full time.Time // when one of said is a minute old, if there is no room for another before
	Left uint64    // lines left out
}

type logKey struct{ source, reason string }

// Allow tells whether a line may be written now. What does not pass is counted.
func (l *Limiter) Allow(now time.Time, source, reason string) bool {
	key := logKey{source, reason}
	last, known := l.said[key]
	if known && now.Sub(last) < logInterval || !known && len(l.said) >= l.most() && !l.forget(now) {
		l.Left++
		return false
	}
	if l.said == nil {
		l.said = map[logKey]time.Time{}
	}
	l.said[key] = now
	return true
}

// forget makes room: false if all lines are younger than a minute.
func (l *Limiter) forget(now time.Time) bool {
	if now.Before(l.full) {
		return false
	}
	l.full = now.Add(logInterval)
	for key, last := range l.said {
		if now.Sub(last) >= logInterval {
			delete(l.said, key)
		} else if due := last.Add(logInterval); due.Before(l.full) {
			l.full = due
		}
	}
	return len(l.said) < l.most()
}

// most is Most or its default.
func (l *Limiter) most() int {
	if l.Most <= 0 {
		return maxLogged
	}
	return l.Most
}
