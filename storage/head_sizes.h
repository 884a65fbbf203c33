#pragma once

/*
 * head_sizes counts how much of each window is open, so that one which grows too large can be
 * sealed before its end: what is open is read batch by batch, and has to be kept whole until then.
 *
 * It counts what came since the store was opened, of the HEAD_SIZES_MAX windows that have most. So
 * after a restart a window may grow to the size once more, and nothing else depends on it.
 */

#include <stdbool.h>
#include <stdint.h>

#define HEAD_SIZES_MAX 64

struct head_size {
	uint64_t from_ns; /* of the window */
	uint64_t bytes;   /* of the records of its batches */
	uint64_t batches;
};

/* A zeroed one is empty. */
struct head_sizes {
	struct head_size sizes[HEAD_SIZES_MAX];
	uint32_t count;
};

void head_sizes_add(struct head_sizes *heads, struct head_size size);

/* How much is known to be open of a window. */
struct head_size head_sizes_get(const struct head_sizes *heads, uint64_t from_ns);

/* Takes out the first window with that many bytes or more. false: there is none. */
bool head_sizes_take(struct head_sizes *heads, uint64_t bytes, struct head_size *ret_size);

/* The window was sealed: whatever is open of it begins at nothing. */
void head_sizes_clear(struct head_sizes *heads, uint64_t from_ns);
