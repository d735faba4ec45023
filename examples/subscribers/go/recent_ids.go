package main

const rememberedIDs = 100_000

// recentIDs remembers the newest ids, so that its memory is bounded.
type recentIDs struct {
	known  map[string]struct{}
	oldest []string // a ring: position next is replaced next
	next   int
}

func newRecentIDs() *recentIDs {
	return &recentIDs{known: make(map[string]struct{}), oldest: make([]string, rememberedIDs)}
}

func (r *recentIDs) has(id string) bool {
	_, ok := r.known[id]
	return ok
}

func (r *recentIDs) add(id string) {
	if r.has(id) {
		return
	}
	delete(r.known, r.oldest[r.next])
	r.oldest[r.next] = id
	r.known[id] = struct{}{}
	r.next = (r.next + 1) % rememberedIDs
}
