/* All that the aggregator asks of the C library's memory, which is glibc's. */

#include "aggregator/heap.h"

#include <limits.h>
#include <malloc.h>

/*
 * The C library gives each of a few dozen threads a heap of its own, and what one has freed the
 * others cannot use: an import of 4 million rows took 188 MB with 16 heaps and 146 with two. One
 * for the thread that ingests and one for the rest wait for each other seldom.
 */
#define HEAPS_MAX 2
/*
 * What is large is given back when it is freed, and grows without being copied. Without this the C
 * library keeps up to 32 MiB for the next one that never comes: 20 MB of such an import.
 */
#define HEAP_PIECE_MAX (256 << 10)

void heap_begin(void)
{
	/* Where they are refused it takes more memory and all else is the same. */
	(void)mallopt(M_ARENA_MAX, HEAPS_MAX);
	(void)mallopt(M_MMAP_THRESHOLD, HEAP_PIECE_MAX);
}

void heap_set_idle(uint64_t idle_bytes_max)
{
	uint64_t each = idle_bytes_max / HEAPS_MAX;
	(void)mallopt(M_TRIM_THRESHOLD, each > INT_MAX ? INT_MAX : (int)each);
}

void heap_give_back(uint64_t idle_bytes_max)
{
	if (mallinfo2().fordblks > idle_bytes_max)
		(void)malloc_trim(0);
}
