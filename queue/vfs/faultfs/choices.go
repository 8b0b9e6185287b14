package faultfs

import "math/rand/v2"

// choices are what of each piece is kept, in at most limit ways.
func (p pending) choices(limit int, seed uint64) [][]int {
	if p.pieces == 0 {
		return [][]int{{}}
	}
	if p.pieces < 31 && 1<<p.pieces <= limit {
		return p.all()
	}
	rng := rand.New(rand.NewPCG(seed, uint64(p.pieces)))
	list := [][]int{p.filled(1), p.filled(0)}
	for _, i := range rng.Perm(2 * p.pieces) {
		if len(list) >= limit*2/3 {
			break
		}
		alone := p.filled(1 - i%2)
		alone[i/2] = i % 2
		list = append(list, alone)
	}
	for i := 0; len(list) < limit; i++ {
		if i%3 == 0 {
			list = append(list, p.upTo(rng.IntN(p.pieces)))
			continue
		}
		list = append(list, p.mix(rng, []float64{0.5, 0.85, 0.15}[rng.IntN(3)]))
	}
	return list
}

// all are all combinations.
func (p pending) all() [][]int {
	list := make([][]int, 1<<p.pieces)
	for c := range list {
		list[c] = make([]int, p.pieces)
		for i := range list[c] {
			list[c][i] = c >> i & 1
		}
	}
	return list
}

func (p pending) filled(with int) []int {
	kept := make([]int, p.pieces)
	for i := range kept {
		kept[i] = with
	}
	return kept
}

// upTo keeps all steps and sizes, and the sectors before piece end.
func (p pending) upTo(end int) []int {
	kept := p.filled(1)
	at := len(p.steps)
	for _, file := range p.files {
		if file.resized {
			at++
		}
		for range file.sectors {
			if at >= end {
				kept[at] = 0
			}
			at++
		}
	}
	return kept
}

// mix keeps each piece with that probability. A size may stop in between, a sector be as it was in between.
func (p pending) mix(rng *rand.Rand, probability float64) []int {
	flip := func() int {
		if rng.Float64() < probability {
			return 1
		}
		return 0
	}
	var kept []int
	for range p.steps {
		kept = append(kept, flip())
	}
	for _, file := range p.files {
		if file.resized {
			size := flip()
			if rng.IntN(3) == 0 {
				size = 2 + rng.IntN(file.node.stops())
			}
			kept = append(kept, size)
		}
		for _, s := range file.sectors {
			sector := flip()
			if older := len(file.node.older[s]); older > 0 && rng.IntN(3) == 0 {
				sector = 2 + rng.IntN(older)
			}
			kept = append(kept, sector)
		}
	}
	return kept
}
