#!/bin/sh
# Proves that the campaign still sees: each planted bug in the production code (build tags planted_*) must turn the
# unmodified suite red. A bug that passes is a failure of the suite.
set -u
cd "$(dirname "$0")/../.."
blind=0
for bug in planted_reuse planted_noflush planted_nocrc planted_discard; do
	if out=$(go test -count=1 -failfast -tags "$bug" ./storage/campaign 2>&1); then
		echo "$bug: NOT seen by the campaign"
		blind=1
	elif echo "$out" | grep -q '^--- FAIL'; then
		echo "$bug: seen: $(echo "$out" | grep -v 'power cuts' | grep -m1 -E 'cut [0-9]+ |seed [0-9]+: ')"
	else
		echo "$bug: the suite did not run:"
		echo "$out" | head -20
		blind=1
	fi
done
exit $blind
