#pragma once

/*
 * kv_acked is the word, in a file beside the database, of the last write that was synced for
 * certain: a log that ends before it is damaged. It is written after each sync and never synced
 * itself: it may say too little, never too much.
 */

#include <stdbool.h>
#include <stdint.h>

#define KV_ACKED_NAME "profleet-acked"

/* May fail: then damage to the log goes unseen. */
struct kv_acked {
	int fd; /* -1: not open */
};

#define KV_ACKED_INIT                                                                              \
	{                                                                                          \
		.fd = -1                                                                           \
	}

/* Unless it is open. `is_reader`: nothing in the folder may change. */
void kv_acked_open(struct kv_acked *acked, const char *folder, bool is_reader);
void kv_acked_close(struct kv_acked *acked);

/* The number of the last write that was synced for certain; 0 when nobody wrote it down. */
uint64_t kv_acked_read(const struct kv_acked *acked);

/*
 * After a synced write. -ENOENT: the folder was removed, so whatever is synced there is gone with
 * the process and must not be acknowledged.
 */
int kv_acked_write(struct kv_acked *acked, uint64_t sequence);
