/* Every key decoder on any bytes: what is accepted must be made of exactly these bytes. */

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "storage/audit.h"
#include "storage/expiry.h"
#include "storage/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* Those that lie beside what they are keys of. */
static void check_others(const uint8_t *bytes, size_t count)
{
	uint8_t again[AUDIT_KEY_BYTES];
	uint64_t run_id;
	uint64_t seq;
	if (expiry_get_key(bytes, count, &run_id) == 0) {
		expiry_put_key(run_id, again);
		assert(count == EXPIRY_KEY_BYTES && memcmp(again, bytes, count) == 0);
	}
	if (audit_get_key((struct kv_bytes){ bytes, count }, &seq) == 0) {
		audit_put_key(seq, again);
		assert(count == AUDIT_KEY_BYTES && memcmp(again, bytes, count) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	uint8_t again[KEYS_SYMBOLS_BYTES_MAX];
	struct key_batch batch;
	struct key_dict dict;
	uint32_t generation;
	uint32_t stream;
	struct wire_uuid uuid;
	enum keys_symbols_part part;
	struct key_window window;
	struct key_block block;
	char text[KEYS_BUILD_ID_BYTES_MAX + 1];

	check_others(bytes, count);
	if (keys_get_batch(bytes, count, &batch) == 0) {
		keys_put_batch(batch, again);
		assert(count == KEYS_BATCH_BYTES && memcmp(again, bytes, count) == 0);
	}
	if (keys_get_window(bytes, count, &window) == 0) {
		keys_put_window(window, again);
		assert(count == KEYS_WINDOW_BYTES && memcmp(again, bytes, count) == 0);
	}
	if (keys_get_block(bytes, count, &block) == 0) {
		keys_put_block(block, again);
		assert(count == KEYS_BLOCK_BYTES && memcmp(again, bytes, count) == 0);
	}
	if (keys_get_generation(bytes, count, &generation) == 0) {
		keys_put_generation(generation, again);
		assert(count == KEYS_GENERATION_BYTES && memcmp(again, bytes, count) == 0);
	}
	if (keys_get_dict(bytes, count, &dict) == 0) {
		keys_put_dict(dict, again);
		assert(count == KEYS_DICT_BYTES && memcmp(again, bytes, count) == 0);
	}
	if (keys_get_stream(bytes, count, &stream) == 0) {
		keys_put_stream(stream, again);
		assert(count == KEYS_STREAM_BYTES && memcmp(again, bytes, count) == 0);
	}
	if (keys_get_agent(bytes, count, &uuid, text) == 0) {
		assert(keys_put_agent(&uuid, text, again) == count);
		assert(memcmp(again, bytes, count) == 0);
	}
	if (keys_get_symbols(bytes, count, &part, text) == 0) {
		assert(keys_put_symbols(part, text, again) == count);
		assert(memcmp(again, bytes, count) == 0);
	}
	if (keys_get_tenant(bytes, count, text) == 0)
		assert(strlen(text) == count && (count == 0 || memcmp(text, bytes, count) == 0));
	return 0;
}
