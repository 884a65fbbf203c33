#pragma once

/*
 * Blocks of a store that nobody has open are damaged in place: a bit of each is flipped, and the
 * database is content with what it keeps.
 */

#include <stdbool.h>
#include <stdint.h>

#include "storage/keys.h"
#include "storage/kv.h"
#include "tests/lib/test.h"

/* Every block of a family that is of this part, of the first unit alone or of all. Returns how
 * many. */
static inline uint32_t store_damage(
        const char *path, enum kv_family family, enum keys_block_part part, bool is_of_all)
{
	struct kv *kv;
	struct kv_options options = { .path = path, .memtables_bytes = 8 << 20 };
	char error[256];
	uint32_t damaged = 0;
	AUTO(kv_batch) batch = kv_batch_new();
	CHECK_OK(kv_open(options, &kv, error, sizeof(error)));
	struct kv_iterator *it = kv_iterator_new(
	        kv, family, (struct kv_bytes){ 0 }, (struct kv_bytes){ 0 });
	for (; kv_iterator_is_valid(it); kv_iterator_next(it)) {
		struct kv_bytes key = kv_iterator_key(it);
		struct kv_bytes value = kv_iterator_value(it);
		struct key_block block;
		CHECK_OK(keys_get_block(key.bytes, key.count, &block));
		if (block.part != part || (block.unit > 0 && !is_of_all))
			continue;
		AUTO_BUF bytes = { 0 };
		buf_put(&bytes, value.bytes, value.count);
		bytes.bytes[bytes.count / 2] ^= 1;
		kv_put(kv, batch, family, key, (struct kv_bytes){ bytes.bytes, bytes.count });
		damaged++;
	}
	kv_iterator_free(it);
	CHECK_OK(kv_write(kv, batch, KV_SYNC));
	kv_free(kv);
	return damaged;
}
