package device

// LoseNudge leaves the handle as it is when the reactor that was to nudge it has ended before it could.
func (h *Handle) LoseNudge() { h.nudged.Store(true) }
