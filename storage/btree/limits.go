package btree

const (
	batchBytesDefault = 1 << 20
	cacheNodesMin     = 64 // smallest cache in nodes
	loadTriesMax      = 8  // rounds of Load while others keep replacing the same block
	entriesMaxLeast   = 4  // least Config.EntriesMax: a node that splits leaves two in each half
	emptyShare        = 4  // a node below 1/emptyShare of its room takes its neighbour in
	aheadNodes        = 16 // leaves that a fold or a walk reads at once
	prefetchDepth     = 64 // reads of Prefetch in flight
	regionsMax        = 16 // regions that the cache empties for one large block
)
