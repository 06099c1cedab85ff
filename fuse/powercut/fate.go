package powercut

import "math/rand/v2"

// fate is how one cut treats the writes that were held back. Some cuts are extreme on purpose: a fair coin for each write almost never
// gives "all but the last" or "only the last".
type fate struct {
	rng        *rand.Rand
	keep, tear float64 // shares of the writes
}

func drawFate(r *rand.Rand) fate {
	switch r.IntN(8) {
	case 0:
		return fate{r, 0, 0}
	case 1:
		return fate{r, 1, 0}
	case 2:
		return fate{r, 0.9, 0}
	case 3:
		return fate{r, 0.1, 0}
	case 4:
		return fate{r, 0.5, 1}
	}
	return fate{r, r.Float64(), r.Float64()}
}

// land keeps, loses or tears one write.
func (m *Media) land(f fate, h held, c *Counts) error {
	switch {
	case f.rng.Float64() < f.tear:
		c.Torn++
		return m.tear(f.rng, h)
	case f.rng.Float64() < f.keep:
		c.Kept++
		return m.put(h, 0, h.n)
	}
	c.Lost++
	return nil
}

// tear keeps a head, a tail, or any of the sectors or pages of a write.
func (m *Media) tear(r *rand.Rand, h held) error {
	unit := [2]int{SectorBytes, PageBytes}[r.IntN(2)]
	units := (h.n + unit - 1) / unit
	at, kind := r.IntN(units+1), r.IntN(3)
	for u := range units {
		stays := u < at
		switch kind {
		case 1:
			stays = u >= at
		case 2:
			stays = r.IntN(2) == 0
		}
		if !stays {
			continue
		}
		if err := m.put(h, u*unit, min((u+1)*unit, h.n)); err != nil {
			return err
		}
	}
	return nil
}
