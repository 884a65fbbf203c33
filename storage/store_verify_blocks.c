/*
 * Blocks that nothing names. The families are gone over side by side with the windows' records, in
 * the order of their keys, so that such a block is seen without a list of all of them.
 */

#include "storage/store_verify_window_private.h"

#include <inttypes.h>
#include <string.h>

static bool verify_has_unit(const struct verify_window *window, const struct key_block *key)
{
	return key->unit < window->record.units_count && !window->record.units[key->unit].is_gone;
}

static bool verify_is_named(const struct verify_window *window, const struct key_block *key)
{
	const struct window *record = &window->record;
	switch (key->part) {
	case KEYS_BLOCK_WATCHERS:
		return key->unit == KEYS_UNIT_NONE && key->chunk < record->watchers_chunks;
	case KEYS_BLOCK_SUMS:
		return verify_has_unit(window, key) && key->chunk == 0;
	case KEYS_BLOCK_VALUES:
		return verify_has_unit(window, key) && key->chunk == 0 &&
		       window->values_apart.bytes[key->unit];
	case KEYS_BLOCK_MEMBERS:
		return verify_has_unit(window, key) &&
		       (key->chunk == 0 || (verify_is_rollup(window) &&
		                                   key->chunk < record->units[key->unit].chunks));
	case KEYS_BLOCK_DETAIL:
		return verify_has_unit(window, key) && key->chunk < record->units[key->unit].chunks;
	}
	return false;
}

static int verify_blocks_next(struct verify_blocks *blocks)
{
	blocks->is_valid = verify_scan_next(&blocks->scan, &blocks->key, &blocks->value);
	return blocks->is_valid < 0 ? blocks->is_valid : 0;
}

static int verify_blocks_garbage(struct verify_blocks *blocks, struct key_window of, uint64_t count)
{
	struct verify_place place = { .family = blocks->family };
	if (count == 0)
		return 0;
	verify_put_window(&place, of);
	verify_put(&place, ": %" PRIu64 " blocks", count);
	return verify_garbage(blocks->scan.verify, &place,
	        "nothing names them: an attempt to seal that did not end, which the next one "
	        "removes");
}

/* How a block lies to a window: negative before it, 0 inside, positive behind. */
static int verify_blocks_compare(const struct verify_blocks *blocks, struct kv_bytes window)
{
	size_t count = blocks->key.count < window.count ? blocks->key.count : window.count;
	int order = memcmp(blocks->key.bytes, window.bytes, count);
	return order ? order : blocks->key.count < window.count ? -1 : 0;
}

static bool verify_is_same(struct key_window a, struct key_window b)
{
	return a.from_ns == b.from_ns && a.to_ns == b.to_ns && a.generation == b.generation;
}

/* Passes blocks up to the window's key, or to the end of all where it is empty. */
int verify_blocks_before(struct verify_blocks *blocks, struct kv_bytes window)
{
	struct key_window of = { 0 };
	uint64_t count = 0;
	int r = 0;
	while (r == 0 && blocks->is_valid > 0 &&
	        (window.count == 0 || verify_blocks_compare(blocks, window) < 0)) {
		struct key_block key;
		if (keys_get_block(blocks->key.bytes, blocks->key.count, &key) < 0) {
			struct verify_place place = { .family = blocks->family };
			verify_put(&place, "a key of %zu bytes", blocks->key.count);
			r = verify_damage(
			        blocks->scan.verify, &place, "", "no key that this family has");
		} else if (count > 0 && verify_is_same(of, key.window)) {
			count++;
		} else {
			r = verify_blocks_garbage(blocks, of, count);
			of = key.window;
			count = 1;
		}
		r = r < 0 ? r : verify_blocks_next(blocks);
	}
	return r < 0 ? r : verify_blocks_garbage(blocks, of, count);
}

/* Passes the blocks of the window. */
int verify_blocks_of(struct verify_blocks *blocks, const struct verify_window *window, bool is_read,
        struct kv_bytes window_key)
{
	uint64_t count = 0;
	int r = 0;
	while (r == 0 && blocks->is_valid > 0 && verify_blocks_compare(blocks, window_key) == 0) {
		struct key_block key;
		if (is_read && (keys_get_block(blocks->key.bytes, blocks->key.count, &key) < 0 ||
		                       !verify_is_named(window, &key)))
			count++;
		r = verify_blocks_next(blocks);
	}
	return r < 0 ? r : verify_blocks_garbage(blocks, window->key, count);
}

int verify_blocks_init(
        struct verify_blocks *blocks, struct verify *verify, enum kv_family of, const char *family)
{
	*blocks = (struct verify_blocks){ .family = family };
	int r = verify_scan_init(&blocks->scan, verify, of, family);
	return r < 0 ? r : verify_blocks_next(blocks);
}

void verify_blocks_fini(struct verify_blocks *blocks)
{
	verify_scan_fini(&blocks->scan);
}
